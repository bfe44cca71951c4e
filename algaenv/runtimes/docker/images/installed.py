"""The Python part of an image: this interpreter, the requested packages, and our own.

Everything is copied from what is installed here, so the image has exactly these versions and needs
no package index.
"""

from __future__ import annotations

import marshal
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Final

import algaenv
from algaenv.bundle.value import dataclass
from algaenv.model.problem import Failed, Problem
from algaenv.runtimes.binaries import INSTALL_COMMAND
from algaenv.runtimes.docker.images.recipe import PythonPart

if TYPE_CHECKING:
    from importlib.metadata import Distribution

    from algaenv.runtimes.docker.images.rootfs import Rootfs

_PREFIX: Final = "/usr/local"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
# With this flag the time of the source, which a tar does not keep, is not compared.
_UNCHECKED: Final = 0b01
_HEADER: Final = 16


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The interpreter that runs this, outside of any virtual environment."""

    executable: Path
    stdlib: Path

    @property
    def name(self) -> str:
        """`python3.<minor>`."""
        return f"python3.{sys.version_info.minor}"


def interpreter() -> Interpreter:
    """This interpreter's own files."""
    executable = getattr(sys, "_base_executable", "") or sys.executable
    return Interpreter(Path(executable).resolve(), Path(os.__file__).parent)


def package_root() -> Path:
    """Where this package is installed, or checked out."""
    return Path(algaenv.__file__).parent


def distributions(names: Iterable[str]) -> list[Distribution]:
    """The installed distributions of `names` and of all they need, by name.

    A requirement with a marker counts when it is installed; those of extras do not. Raises Failed
    (`package-missing`).
    """
    from importlib.metadata import PackageNotFoundError, distribution

    found: dict[str, Distribution] = {}
    lacking: list[str] = []
    waiting = [(name, True) for name in names]
    while waiting:
        name, required = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            if required:
                lacking.append(name)
            continue
        waiting += _requirements(found[name])
    if lacking:
        summary = f"cannot make the image: {', '.join(sorted(lacking))} not installed"
        raise Failed(Problem("package-missing", summary, f"run {INSTALL_COMMAND}"))
    return [found[name] for name in sorted(found)]


def _requirements(found: Distribution) -> Iterator[tuple[str, bool]]:
    for line in found.requires or ():
        text, _, marker = line.partition(";")
        name = _NAME.match(text.strip())
        if name and "extra" not in marker:
            yield re.sub(r"[-_.]+", "-", name[0]).lower(), not marker


def add_python(root: Rootfs, part: PythonPart) -> list[Path]:
    """Put interpreter, standard library and packages into `root`.

    Returns the directories here whose libraries were copied with them.
    """
    import tempfile

    from algaenv.runtimes.docker.images.rootfs import Link

    python = interpreter()
    library = f"{_PREFIX}/{sys.platlibdir}/{python.name}"
    root.copy(f"{_PREFIX}/bin/{python.name}", python.executable)
    root.put(f"{_PREFIX}/bin/python3", Link(python.name))
    with tempfile.TemporaryDirectory() as scratch:
        modules = _Modules(root, Path(scratch))
        for source in walk(python.stdlib, part.without):
            modules.add(f"{library}/{source.relative_to(python.stdlib).as_posix()}", source)
        for found in distributions(part.distributions):
            for place, source in _content(found, part.without_in_packages):
                modules.add(f"{part.site}/{place}", source)
        for place, source in own_files(part.packages):
            modules.add(f"{part.site}/{place}", source)
    return [
        python.stdlib,
        *{Path(str(d.locate_file(""))) for d in distributions(part.distributions)},
    ]


def own_files(packages: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Place below site, file: those of this package that the recipe names."""
    root = package_root()
    for name in packages:
        chosen = [root / name] if (root / name).is_file() else walk(root / name, ("__pycache__",))
        for source in chosen:
            yield f"algaenv/{source.relative_to(root).as_posix()}", source


def _content(found: Distribution, without: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for file in found.files or ():
        place = file.as_posix()
        outside = place.startswith(("../", "/")) or ".." in file.parts
        if not outside and not _left_out(file.parts, without):
            source = Path(str(found.locate_file(file)))
            if source.is_file():
                yield place, source


def walk(folder: Path, without: Sequence[str]) -> Iterator[Path]:
    """Every file below `folder`, sorted, but for names that match a pattern of `without`."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _left_out((name,), without))
        for name in sorted(names):
            if not _left_out((name,), without) and (source := Path(here, name)).is_file():
                yield source


def _left_out(parts: Iterable[str], without: Sequence[str]) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(part, pattern) for part in parts for pattern in without)


class _Modules:
    """Adds files, and beside each module its compiled form, since the root may be read-only."""

    def __init__(self, root: Rootfs, scratch: Path) -> None:
        self._root = root
        self._scratch = scratch / "module.pyc"

    def add(self, place: str, source: Path) -> None:
        from algaenv.runtimes.docker.images.rootfs import File

        self._root.copy(place, source)
        if source.suffix != ".py":
            return
        folder, _, name = place.rpartition("/")
        compiled = _kept(source) or self._compiled(source, place)
        if compiled:
            # The same source gives the same bytes: a kept form names the file here, and version 2
            # knows no references, whose number depends on what else is alive.
            code = marshal.loads(compiled[_HEADER:])  # noqa: S302 - made here, from this source
            compiled = compiled[:_HEADER] + marshal.dumps(_at(place, code), 2)
            tag = sys.implementation.cache_tag
            self._root.put(f"{folder}/__pycache__/{name[:-3]}.{tag}.pyc", File(compiled))

    def _compiled(self, source: Path, place: str) -> bytes | None:
        import py_compile

        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        try:
            py_compile.compile(
                str(source), str(self._scratch), place, doraise=True, invalidation_mode=mode
            )
        except py_compile.PyCompileError:
            return None  # Templates and tests of packages need not be valid Python.
        return self._scratch.read_bytes()


def _at(place: str, code: CodeType) -> CodeType:
    """`code`, and all code within it, as compiled from `place`."""
    inner = tuple(_at(place, c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=place, co_consts=inner)


def _kept(source: Path) -> bytes | None:
    """The current compiled form beside `source`, if there is one, with an unchecked header."""
    import importlib.util

    try:
        compiled = Path(importlib.util.cache_from_source(str(source))).read_bytes()
        seen = source.stat()
    except (OSError, NotImplementedError):
        return None
    head = compiled[:_HEADER]
    current = (
        importlib.util.MAGIC_NUMBER
        + (0).to_bytes(4, "little")
        + (int(seen.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little")
        + (seen.st_size & 0xFFFFFFFF).to_bytes(4, "little")
    )
    if head != current:
        return None
    flags = _UNCHECKED.to_bytes(4, "little")
    digest = importlib.util.source_hash(source.read_bytes())
    return importlib.util.MAGIC_NUMBER + flags + digest + compiled[_HEADER:]
