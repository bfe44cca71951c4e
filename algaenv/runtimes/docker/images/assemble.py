"""Assembles the content of an image from a recipe: a root file system, or a build context.

An image without a base gets a root file system and its settings. One on a public base gets a build
context with a wheel of this package and pinned requirements. The wheel that was installed is gone,
and a checkout never had one, so it is built from the installed files: a zip file of modules,
metadata and a list of hashes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import ssl
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from algaenv import __version__
from algaenv.model.problem import Failed, Problem
from algaenv.runtimes.binaries import Binary
from algaenv.runtimes.docker.images.installed import add_python, distributions, own_files, walk
from algaenv.runtimes.docker.images.recipe import Recipe
from algaenv.runtimes.docker.images.rootfs import (
    File,
    ImageDirectory,
    Link,
    Rootfs,
    shared_libraries,
    strip_debug_symbols,
)
from algaenv.spec.paths import is_file

_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
_BUNDLES: Final = (_BUNDLE, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_LOCALE: Final = "/usr/lib/locale/C.utf8"
_WORD: Final = re.compile(r"\{([a-z]+)\}")
_FIRST_DAY: Final = (1980, 1, 1, 0, 0, 0)
_METADATA: Final = f"Metadata-Version: 2.1\nName: algaenv\nVersion: {__version__}\n"
_TAGS: Final = "Wheel-Version: 1.0\nGenerator: algaenv\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def assemble(recipe: Recipe, program: Binary | None, major: str) -> Rootfs:
    """All the files of the image. Raises Failed (`recipe-broken`, `package-missing`)."""
    words = _words(recipe, program, major)
    root = Rootfs()
    _accounts(root, recipe)
    own: list[Path] = []
    if program is not None:
        own += _programs(root, recipe, program, words)
    for place, name in recipe.files.items():
        root.put(place, File((recipe.folder / name).read_bytes(), 0o755))
    for tool in recipe.tools:
        root.copy(f"/bin/{tool}", _tool(recipe, tool))
    if recipe.python is not None:
        own += add_python(root, recipe.python)
    for place, mode in recipe.directories.items():
        root.put(place, ImageDirectory(int(mode, 8), 0 if int(mode, 8) & 0o1000 else recipe.user))
    for place, target in recipe.links.items():
        if _filled(place, words) not in root:
            root.put(_filled(place, words), Link(_filled(target, words)))
    if recipe.certificates:
        root.put(_BUNDLE, File(certificates()))
    if recipe.locale:
        _copy_tree(root, Path(_LOCALE), _LOCALE, ())
    for place, library in shared_libraries(root.files(), own).items():
        root.put(place, File(library, 0o755))
    if recipe.python is not None:
        strip_debug_symbols(root)
    return root


def settings(
    recipe: Recipe, program: Binary | None, major: str, labels: Mapping[str, str]
) -> list[str]:
    """The image's settings, as Dockerfile instructions. STOPSIGNAL is not among those that work."""
    import json

    words = _words(recipe, program, major)
    lines = [
        f"ENV {name}={json.dumps(_filled(text, words))}"
        for name, text in recipe.environment.items()
    ]
    marks = {**recipe.marks, **labels}
    lines += [f"LABEL {name}={json.dumps(text)}" for name, text in marks.items()]
    lines += [f"EXPOSE {port}" for port in recipe.ports]
    lines += [f"USER {recipe.user}:{recipe.user}", "WORKDIR /"]
    if recipe.entrypoint:
        lines.append(f"ENTRYPOINT {json.dumps([_filled(w, words) for w in recipe.entrypoint])}")
    if recipe.healthcheck:
        command = json.dumps(list(recipe.healthcheck))
        lines.append(f"HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD {command}")
    return lines


def _words(recipe: Recipe, program: Binary | None, major: str) -> Mapping[str, str]:
    if program is None:
        return {"prefix": recipe.prefix}
    home = str(program.home)
    prefix = home if _of_system(program) else recipe.prefix
    return {"program": program.name, "home": home, "prefix": prefix, "major": major}


def _of_system(program: Binary) -> bool:
    return str(program.home).startswith("/usr/lib")


def _filled(text: str, words: Mapping[str, str]) -> str:
    return _WORD.sub(lambda match: words.get(match[1], match[0]), text)


def _programs(
    root: Rootfs, recipe: Recipe, program: Binary, words: Mapping[str, str]
) -> list[Path]:
    place = _filled(recipe.program, words)
    root.put(place, File(program.path, 0o755))
    for name in recipe.siblings:
        sibling = program.path.parent / name
        if sibling.is_file():
            root.put(f"{place.rpartition('/')[0]}/{name}", File(sibling.resolve(), 0o755))
    trees = dict(recipe.trees)
    if _of_system(program):
        trees |= recipe.system_trees
    copied = []
    for source, target in trees.items():
        folder = Path(_filled(source, words))
        if folder.is_dir():
            _copy_tree(root, folder, _filled(target, words), recipe.without)
            copied.append(folder.resolve())
    return copied


def _copy_tree(root: Rootfs, folder: Path, place: str, without: Sequence[str]) -> None:
    for source in walk(folder, without) if folder.is_dir() else ():
        root.copy(f"{place}/{source.relative_to(folder).as_posix()}", source)


def _accounts(root: Rootfs, recipe: Recipe) -> None:
    user, name = recipe.user, recipe.account
    passwd = f"root:x:0:0:root:/:/sbin/nologin\n{name}:x:{user}:{user}::/tmp:/sbin/nologin\n"
    if "/etc/passwd" not in recipe.links:
        root.put("/etc/passwd", File(passwd.encode()))
    root.put("/etc/group", File(f"root:x:0:\n{name}:x:{user}:\n".encode()))
    root.put("/etc/nsswitch.conf", File(b"passwd: files\ngroup: files\nhosts: files dns\n"))


def _tool(recipe: Recipe, name: str) -> Path:
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    for folder in ("/bin", "/usr/bin", *path):
        if os.access(f"{folder}/{name}", os.X_OK):
            return Path(folder, name).resolve()
    raise Failed(
        Problem(
            "recipe-broken",
            f"cannot make the image {recipe.name}: there is no {name} on this machine",
            "set `images: pull`, or `runtime: process`, in the spec",
        )
    )


def certificates() -> bytes:
    """The authorities this machine trusts, as PEM; empty when it names none."""
    chosen = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or ""
    for name in (chosen, *_BUNDLES):
        if is_file(name) and os.access(name, os.R_OK):
            return Path(name).read_bytes()
    return b""


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
