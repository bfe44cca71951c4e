"""What a component imports, read from its binary form without compiling it.

The layout is that of the component model's binary format: a preamble of 8 bytes, then sections of
an id, a size and their content. Only the outermost section of imports is read; a component of
12 MB costs a few reads.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from algaenv.bundle.diagnostics import FileReport, escape_unprintable

COMPONENT = b"\0asm\x0d\0\x01\0"
MODULE = b"\0asm\x01\0\0\0"

PACKAGE = "alga:extension/"
INTERFACES = (
    "types",
    "context",
    "secrets",
    "http",
    "storage",
    "logging",
    "ui-proxy",
    "user",
    "user-v2",
    "scheduler",
    "invoicing",
    "clients",
    "services",
)
"""Those of the world `alga:extension/runner`, which the bundled runner has."""
_WASI = "wasi:"
"""All of its second preview is linked; nothing of it is granted."""

_IMPORTS = 10
_WITH_VERSION = 2
"""The form of a name with a suffix of its version beside it."""
_MAX_SECTION = 1 << 20
_MAX_SHOWN = 5


class NotAComponent(Exception):
    """The file is something else; the text says what."""


def check_component(file: Path, shown: str, report: FileReport) -> None:
    """Warn of what no runner can run, and of imports that the bundled one does not have.

    `shown` is the path in the bundle. A component that cannot be read is left to the runner.
    """
    try:
        with file.open("rb") as content:
            unknown = [name for name in imports(content) if not _is_known(name)]
    except NotAComponent as error:
        report.warn(
            "source-wasm-kind",
            file,
            f"cannot run {shown}: {error}",
            "build it as a component, with jco, cargo-component or componentize-py",
        )
        return
    except (OSError, ValueError):
        return
    if unknown:
        names = ", ".join(map(escape_unprintable, unknown[:_MAX_SHOWN]))
        more = f" and {len(unknown) - _MAX_SHOWN} more" if len(unknown) > _MAX_SHOWN else ""
        report.warn(
            "source-import-unknown",
            file,
            f"cannot link {shown} with the bundled runner: it imports {names}{more}",
            f"build it for the world {PACKAGE}runner, which has no other interfaces than "
            f"{', '.join(INTERFACES)}, all without a version",
        )


def _is_known(name: str) -> bool:
    return name.startswith(_WASI) or name.removeprefix(PACKAGE) in INTERFACES


def imports(content: BinaryIO) -> Iterator[str]:
    """The names of what a component imports. Raises NotAComponent, ValueError for a damaged one."""
    head = content.read(len(COMPONENT))
    if head != COMPONENT:
        if head == MODULE:
            raise NotAComponent("it is a core module, not a component")
        raise NotAComponent("it is no WebAssembly component" if head else "it is empty")
    reader = _Reader(content)
    while (section := content.read(1)) != b"":
        size = reader.number()
        if section[0] == _IMPORTS:
            yield from _names(_Reader(io.BytesIO(reader.take(size))))
        else:
            content.seek(size, 1)


def _names(section: _Reader) -> Iterator[str]:
    for _ in range(section.number()):
        form, name = section.byte(), section.text()
        if form == _WITH_VERSION:
            section.text()
        match section.byte():
            case 0:  # A core module: one byte more says so.
                section.byte()
                section.number()
            case 2 | 3 as kind:  # A value or a type, equal to another or bounded.
                bound = section.byte()
                if kind == 2 or bound == 0:
                    section.number()
                if kind == 3:
                    continue
            case 1 | 4 | 5:  # A function, component or instance of the type with this number.
                section.number()
            case kind:
                raise ValueError(f"unknown kind {kind}")
        yield name


class _Reader:
    """Reads numbers and texts; raises ValueError where the file ends too early."""

    def __init__(self, content: BinaryIO) -> None:
        self._content = content

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """LEB128, unsigned, of at most 32 bits."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number is too long")

    def text(self) -> str:
        return self.take(self.number()).decode()

    def take(self, size: int) -> bytes:
        if size > _MAX_SECTION:
            raise ValueError("a section is too long")
        found = self._content.read(size)
        if len(found) != size:
            raise ValueError("the file ends too early")
        return found
