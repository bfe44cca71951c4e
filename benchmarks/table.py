"""Results for people: a table on a terminal, the same in Markdown, and all of it as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.figures import Figure, Part, Results

_HEADER = ("what", "algaenv", "peer", "the peer is", "ratio (range)", "limit", "held")


def plain(results: Results) -> str:
    """Columns of text."""
    rows = [_HEADER, *(_row(figure) for figure in results.figures)]
    cells = [[cell.replace("`", "") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEADER))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([*lines, "", *_ending(results)])


def markdown(results: Results) -> str:
    """What stands between the marks of the page on speed."""
    facts = "; ".join(f"{name} {text}" for name, text in results.facts.items())
    blocks = [
        _table(_HEADER, (_row(figure) for figure in results.figures)),
        *(_anatomy_tables(results)),
        f"Measured on: {facts}.",
        *results.notes,
    ]
    return "\n\n".join(blocks) + "\n"


def as_json(results: Results) -> str:
    """Every single time, for comparing runs; seconds."""
    shape: dict[str, Any] = asdict(results)
    for kept, figure in zip(shape["figures"], results.figures, strict=True):
        kept |= {"ratios": figure.ratios, "ratio": figure.ratio, "held": figure.held}
    return json.dumps(shape, indent=1) + "\n"


def _ending(results: Results) -> list[str]:
    facts = [f"{name}: {text}" for name, text in results.facts.items()]
    missing = [f"NOT MEASURED: {name}: {why}" for name, why in results.unmeasured.items()]
    broken = [
        f"LIMIT NOT HELD: {figure.name}: {figure.ratio:.2f} times the peer, more than "
        f"{figure.limit:g}"
        for figure in results.figures
        if figure.held is False
    ]
    dissected = []
    for runtime, anatomy in results.anatomies.items():
        total = sum(part.seconds for part in anatomy.stretches)
        dissected += [f"a no-op on {runtime}, {_time(total)}:", *_listed(anatomy.stretches)]
        dissected += [f"  its imports (an idle interpreter: {_time(anatomy.bare)}):"]
        dissected += [*_listed(anatomy.origins), "  of which:", *_listed([anatomy.dataclasses])]
        dissected += [*_listed(anatomy.modules), ""]
    return [*dissected, *facts, *results.notes, *missing, *broken]


def _listed(parts: Sequence[Part]) -> list[str]:
    return [f"  {_time(part.seconds):>8}  {part.name}" for part in parts]


def _row(figure: Figure) -> tuple[str, ...]:
    held = {None: "", True: "yes", False: "**no**"}[figure.held]
    return (
        figure.title,
        _time(median(figure.ours)),
        _time(median(figure.peer)) if figure.peer else "",
        figure.against,
        _ratio(figure),
        f"{figure.limit:g}" if figure.limit else "",
        held,
    )


def _ratio(figure: Figure) -> str:
    if not figure.ratios:
        return f"({_time(min(figure.ours))} – {_time(max(figure.ours))})"
    return f"{figure.ratio:.2f} ({min(figure.ratios):.2f} – {max(figure.ratios):.2f})"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _anatomy_tables(results: Results) -> Iterable[str]:
    for runtime, anatomy in results.anatomies.items():
        stretches = [(part.name, _time(part.seconds)) for part in anatomy.stretches]
        yield _table((f"a no-op on {runtime}", "time"), stretches)
        generated = Part(f"of these: {anatomy.dataclasses.name}", anatomy.dataclasses.seconds)
        modules = (Part(f"`{part.name}`", part.seconds) for part in anatomy.modules)
        imports = [*anatomy.origins, generated, *modules]
        rows = [(part.name, _time(part.seconds)) for part in imports]
        bare = (f"imports, {runtime}; an idle interpreter has {_time(anatomy.bare)}", "time")
        yield _table(bare, rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
