"""The lock file beside a spec, as text: `algaenv.lock` for `algaenv.yaml`.

It is TOML, in one order and with one pin a table, so that two branches that change different pins
merge.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from algaenv.bundle.value import field_names
from algaenv.model.pins import SERVICES, Pins, ServicePin
from algaenv.model.problem import Problem, SpecError, Where

FORM: Final = 1
"""The version of the form; a file of another one is refused."""
_HEADER: Final = """\
# The versions that environments of the spec beside this file run with. `algaenv lock` writes it:
# check it in, and do not edit it. `algaenv lock --update` takes newer versions.
"""
_TABLE: Final = "[[service]]"
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_PLACE: Final = re.compile(r"\(at (?:line (\d+), column (\d+)|end of document)\)")
_TOP: Final = frozenset({"version", "algaenv", "templates", "service", "packages", "tools"})
_LISTS: Final = frozenset({"repositories"})
_OPTIONAL: Final = frozenset({"digest", "version", "repositories", "tag"})


def path_of(spec: Path) -> Path:
    """The lock file of a spec."""
    return spec.with_suffix(".lock")


def read(spec: Path) -> Pins | None:
    """The pins of a spec; None without a lock file.

    Raises SpecError (`spec-lock-invalid`) with everything that is wrong.
    """
    path = path_of(spec)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _invalid(path, [(1, 1, f"it cannot be read: {error.strerror or error}")]) from error
    try:
        text = content.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise _invalid(path, [(1, 1, "it is not UTF-8")]) from error
    except tomllib.TOMLDecodeError as error:
        found, lines = _PLACE.search(str(error)), text.split("\n")
        end = (len(lines), len(lines[-1]) + 1)
        line, column = (int(found[1]), int(found[2])) if found and found[1] else end
        why = f"it is not TOML: {_PLACE.sub('', str(error)).strip()}"
        raise _invalid(path, [(line, column, why)]) from error
    if problems := list(_problems(document, text.splitlines())):
        raise _invalid(path, problems)
    return Pins(
        document["algaenv"],
        document["templates"],
        tuple(_pin(it) for it in document.get("service", ())),
        document.get("packages", {}),
        document.get("tools", {}),
    )


def text_of(pins: Pins) -> str:
    """The text of a lock file: equal pins give equal text."""
    lines = [f"version = {FORM}", f"algaenv = {_quoted(pins.algaenv)}"]
    lines.append(f"templates = {_quoted(pins.templates)}")
    for pin in sorted(pins.services, key=_order):
        lines += ["", _TABLE]
        for name in field_names(pin):
            value = getattr(pin, name)
            if value or name not in _OPTIONAL:
                lines.append(f"{name} = {_value(value)}")
    tables = {"packages": pins.packages}
    tables |= {f"tools.{_key(name)}": pins.tools[name] for name in sorted(pins.tools)}
    for title, table in tables.items():
        if table:
            lines += ["", f"[{title}]"]
            lines += [f"{_key(name)} = {_quoted(table[name])}" for name in sorted(table)]
    return _HEADER + "\n".join(lines) + "\n"


def _order(pin: ServicePin) -> tuple[str, str, int]:
    return pin.runtime, pin.platform, SERVICES.index(pin.service)


def _value(value: str | tuple[str, ...]) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return f"[{', '.join(_quoted(it) for it in value)}]"


def _quoted(text: str) -> str:
    # A basic string of TOML is one of JSON, but for DEL, which JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _pin(table: Mapping[str, Any]) -> ServicePin:
    values: dict[str, Any] = {"version": "", "digest": "", **table}
    values["repositories"] = tuple(table.get("repositories", ()))
    return ServicePin(**values)


def _problems(document: Mapping[str, Any], lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Line, column and reason of everything that is wrong."""
    form = document.get("version")
    if form != FORM:
        line = _line_of(lines, "version")
        newer = isinstance(form, int) and form > FORM
        yield (
            line,
            1,
            f"its version is {form!r}, not {FORM}"
            + (": a newer algaenv wrote it" if newer else ""),
        )
        return
    for name in sorted(document.keys() - _TOP):
        yield _line_of(lines, name), 1, f"there is no key {name}"
    for name in ("algaenv", "templates"):
        if not isinstance(document.get(name), str):
            yield _line_of(lines, name), 1, f"{name} must be text"
    tables = document.get("service", [])
    places = [number for number, line in enumerate(lines, 1) if line.strip() == _TABLE]
    if not isinstance(tables, list) or not all(isinstance(it, dict) for it in tables):
        yield _line_of(lines, "service"), 1, "service must be a list of tables"
    else:
        for at, table in enumerate(tables):
            line = places[at] if at < len(places) else 1
            yield from ((line, 1, f"[[service]] {why}") for why in _wrong_in(table))
        keys = [tuple(it.get(n) for n in ("runtime", "platform", "service")) for it in tables]
        for at, key in enumerate(keys):
            if key in keys[:at]:
                line = places[at] if at < len(places) else 1
                yield line, 1, f"[[service]] {key[0]}/{key[2]} is there twice"
    packages, tools = document.get("packages", {}), document.get("tools", {})
    if not _is_table_of_text(packages):
        yield _line_of(lines, "[packages]"), 1, "packages must be a table of texts"
    if not isinstance(tools, dict) or not all(_is_table_of_text(it) for it in tools.values()):
        yield _line_of(lines, "[tools"), 1, "tools must be tables of texts"


def _wrong_in(table: Mapping[str, Any]) -> Iterator[str]:
    known = field_names(ServicePin)
    for name in sorted(table.keys() - set(known)):
        yield f"has no key {name}"
    for name in known:
        value = table.get(name)
        if value is None:
            if name not in _OPTIONAL:
                yield f"lacks {name}"
        elif name in _LISTS:
            if not isinstance(value, list) or not all(isinstance(it, str) for it in value):
                yield f"{name} must be a list of texts"
        elif not isinstance(value, str):
            yield f"{name} must be text"
        elif name == "service" and value not in SERVICES:
            yield f"there is no service {value}"


def _is_table_of_text(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(it, str) for it in value.values())


def _line_of(lines: Sequence[str], start: str) -> int:
    return next((n for n, line in enumerate(lines, 1) if line.startswith(start)), 1)


def _invalid(path: Path, found: Sequence[tuple[int, int, str]]) -> SpecError:
    return SpecError(
        *(
            Problem(
                "spec-lock-invalid",
                f"cannot use the lock file: {why}",
                "take it from version control, or write it anew with `algaenv lock`, after "
                "removing it",
                Where(str(path), line, column),
            )
            for line, column, why in found
        )
    )
