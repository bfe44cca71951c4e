"""Capabilities of the terminal (colour, width, redrawing, questions), and aligned columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TextIO

from algaenv.bundle.value import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.console import Console

NARROWEST = 40
_CODES: Mapping[str, str] = MappingProxyType(
    {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
)


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours text, or leaves it alone."""

    enabled: bool

    def __call__(self, text: str, *styles: str) -> str:
        """`text` in these styles (`bold`, `dim`, or a colour); unchanged without any."""
        if not (self.enabled and styles and text):
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"


PLAIN = Paint(enabled=False)


@dataclass(frozen=True, slots=True)
class Terminal:
    """The standard streams and their capabilities.

    `width` is in columns, None when data goes to a pipe or file, where nothing is ever cut or
    folded. `live` means that messages may be redrawn in place, `asks` that a person can answer.
    """

    stdin: TextIO
    out: TextIO
    err: TextIO
    out_paint: Paint = PLAIN
    err_paint: Paint = PLAIN
    width: int | None = None
    live: bool = False
    asks: bool = False

    @classmethod
    def of(
        cls,
        streams: tuple[TextIO, TextIO, TextIO],
        environ: Mapping[str, str],
        *,
        no_color: bool = False,
        quiet: bool = False,
    ) -> Terminal:
        """Detect the capabilities from the streams and the environment."""
        stdin, out, err = streams
        dumb = environ.get("TERM", "") in {"dumb", ""}
        unattended = bool(environ.get("CI"))
        plain = no_color or bool(environ.get("NO_COLOR"))
        forced = bool(environ.get("FORCE_COLOR"))
        return cls(
            stdin,
            out,
            err,
            out_paint=Paint(not plain and (forced or (out.isatty() and not dumb))),
            err_paint=Paint(not plain and (forced or (err.isatty() and not dumb))),
            width=columns() if out.isatty() else None,
            live=err.isatty() and not (dumb or unattended or quiet) and _unicode(err),
            asks=stdin.isatty() and err.isatty() and not unattended,
        )


def live_console(stream: TextIO, paint: Paint) -> Console:
    """The console of a view that is redrawn: it changes no text."""
    from rich.console import Console

    return Console(
        file=stream,
        force_terminal=True,
        color_system="auto" if paint.enabled else None,
        highlight=False,
        markup=False,
        emoji=False,
    )


def columns() -> int:
    """The width of the terminal (or `COLUMNS`), at least NARROWEST."""
    import shutil  # With its archive formats, it takes a while.

    return max(NARROWEST, shutil.get_terminal_size().columns)


def _unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


GAP = 2


def aligned(rows: Sequence[Sequence[str]], *, indent: int = 0) -> list[list[str]]:
    """Pad each cell to the width of its column; the last cell of a row stays as it is.

    The first cell carries the indent, so the joined cells of a row are a line. Colours come later.
    """
    if not rows:
        return []
    columns = max(len(row) for row in rows)
    widths = [max((len(row[n]) for row in rows if n < len(row)), default=0) for n in range(columns)]
    padded = []
    for row in rows:
        cells = [cell.ljust(widths[n] + GAP) for n, cell in enumerate(row[:-1])]
        cells.append(row[-1])
        cells[0] = " " * indent + cells[0]
        padded.append(cells)
    return padded
