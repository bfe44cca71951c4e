"""The build context of images on a public base: a wheel of this package and pinned requirements.

The wheel that was installed is gone, and a checkout never had one, so it is built from the
installed files: a zip file of modules, metadata and a list of hashes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Sequence
from typing import Final

from algaenv import __version__
from algaenv.runtimes.docker.images.assemble import certificates
from algaenv.runtimes.docker.images.installed import distributions, own_files
from algaenv.runtimes.docker.images.recipe import Recipe

_FIRST_DAY: Final = (1980, 1, 1, 0, 0, 0)
_METADATA: Final = f"Metadata-Version: 2.1\nName: algaenv\nVersion: {__version__}\n"
_TAGS: Final = "Wheel-Version: 1.0\nGenerator: algaenv\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel_context(recipe: Recipe) -> io.BytesIO:
    """A tar of the recipe's files, the wheel, the pinned requirements and the certificates."""
    assert recipe.python is not None  # noqa: S101 - only the runner's recipe comes here
    name, content = wheel(recipe.python.packages)
    members = {
        **{source.name: source.read_bytes() for source in recipe.sources},
        "certificates.pem": certificates(),
        "requirements.txt": requirements(recipe.python.distributions).encode(),
        name: content,
    }
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member, text in sorted(members.items()):
            header = tarfile.TarInfo(member)
            header.size = len(text)
            archive.addfile(header, io.BytesIO(text))
    stream.seek(0)
    return stream


def wheel(packages: Sequence[str]) -> tuple[str, bytes]:
    """File name and content; the same bytes for the same `packages` (see `PythonPart`)."""
    info = f"algaenv-{__version__}.dist-info"
    members = {place: source.read_bytes() for place, source in own_files(packages)}
    members[f"{info}/METADATA"] = _METADATA.encode()
    members[f"{info}/WHEEL"] = _TAGS.encode()
    record = "".join(
        f"{name},{_digest(content)},{len(content)}\n" for name, content in members.items()
    )
    members[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _FIRST_DAY), content)
    return f"algaenv-{__version__}-py3-none-any.whl", stream.getvalue()


def requirements(names: Sequence[str]) -> str:
    """The lines that pin `names`, and all they need, to what is installed here."""
    pins = (f"{found.metadata['Name']}=={found.version}\n" for found in distributions(names))
    return "".join(sorted(pins, key=str.lower))


def _digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
