"""Writes what the reference pages have from the code: commands, keys, codes, the schema.

    python docs/site/reference.py            # writes; `make reference` does the same
    python docs/site/reference.py --check    # only says which files are stale, and exits with 1

The pages hold what is written here between `<!-- from the code: … -->` and `<!-- end -->`; in
`problems.md` it is the rows of the tables, in the order they stand in. All else is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from algaenv.cli.commands import COMMANDS
from algaenv.cli.dispatch import command_module
from algaenv.problems import ProblemCode, load_problem_codes
from algaenv.spec.schema import fragment_schema, schema, text

REFERENCE = Path(__file__).parents[1] / "reference"
BLOCK = re.compile(r"(<!-- from the code: (.+?) -->\n).*?(\n<!-- end -->)", re.DOTALL)
SECTION = re.compile(r"\n<!-- ([\w.]+) -->\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| (?:<a id=[^>]*></a>)?`([a-z0-9-]+)` \|[^\n]*\n", re.MULTILINE)
SHORTEST = 60
"""A default longer than this, in characters, is left to the page of the spec."""


def pages() -> Mapping[Path, str]:
    """Each file with what it should hold."""
    commands, problems = REFERENCE / "commands.md", REFERENCE / "problems.md"
    return {
        commands: BLOCK.sub(_block, commands.read_text(encoding="utf-8")),
        problems: _problems(problems.read_text(encoding="utf-8")),
        REFERENCE / "spec-keys.md": _keys(),
        REFERENCE / "algaenv.schema.json": text(),
        REFERENCE / "fragment.schema.json": text(fragment_schema()),
    }


def _block(match: re.Match[str]) -> str:
    what, _, name = match[2].partition(" ")
    return (
        match[1]
        + {"commands": _commands, "usage": _usage, "examples": _examples}[what](name)
        + match[3]
    )


def _commands(_: str) -> str:
    rows = [f"| [`{name}`](#{name}) | {summary} |" for name, summary in COMMANDS]
    return "\n".join(["", "| command | what it does |", "|---|---|", *rows, ""])


def _usage(name: str) -> str:
    return f"\n```\nalgaenv {name} {getattr(command_module(name), 'USAGE', '[options]')}\n```\n"


def _examples(name: str) -> str:
    lines = [f"# {meaning}\n{line}" for line, meaning in command_module(name).EXAMPLES]
    return "\n```sh\n" + "\n\n".join(lines) + "\n```\n"


def _problems(page: str) -> str:
    """The rows anew, where they stand; a new code is the last row of its section."""
    seen = set[str]()

    def section(match: re.Match[str]) -> str:
        rows = {each.code: each for each in load_problem_codes().get(match[1], ())}
        listed = [code for code in ROW.findall(match[0]) if code in rows]
        text = ROW.sub(lambda it: row(rows.get(it[1])), match[0]).rstrip("\n")
        new = "".join(row(each) for code, each in rows.items() if code not in listed)
        return f"{text}\n{new}" + "\n" * (match.end() < len(page))

    def row(each: ProblemCode | None) -> str:
        if each is None:
            return ""
        # A code that stands in several tables has its address in the first.
        anchor = "" if each.code in seen else f'<a id="{each.code}"></a>'
        seen.add(each.code)
        meaning = each.meaning[0].lower() + each.meaning[1:].rstrip(".")
        return f"| {anchor}`{each.code}` | {meaning} | {each.hint} |\n"

    return SECTION.sub(section, page)


def _keys() -> str:
    whole = schema()
    lines = [
        "# All keys of the spec",
        "",
        "Each key with the type of its value and its default, from the",
        "[JSON Schema](algaenv.schema.json) that `algaenv schema` prints. [The spec](spec.md)",
        "explains them. A key below `[]` is one of each item of a list, and `<name>` is a name of",
        "your own.",
        "",
        "| key | value | default | meaning |",
        "|---|---|---|---|",
        *_rows(whole, whole, "", ()),
    ]
    return "\n".join(lines) + "\n"


def _rows(
    whole: Mapping[str, Any], node: Mapping[str, Any], path: str, within: tuple[str, ...]
) -> Iterator[str]:
    for key, value in node.get("properties", {}).items():
        name = f"{path}.{key}" if path else key
        default = value.get("default")
        shown = "" if default is None or len(str(default)) > SHORTEST else f"`{_plain(default)}`"
        about = value["description"].replace("|", "\\|").rstrip(".")
        yield f"| `{name}` | {', '.join(_types(whole, value))} | {shown} | {about} |"
        yield from _below(whole, value, name, within)


def _below(
    whole: Mapping[str, Any], node: Mapping[str, Any], path: str, within: tuple[str, ...]
) -> Iterator[str]:
    """The keys of the mappings that a value may be, or may be made of."""
    for option in node.get("anyOf", [node]):
        name = option.get("$ref", "").rpartition("/")[2]
        if name and name not in within:
            yield from _rows(whole, whole["definitions"][name], path, (*within, name))
        if isinstance(items := option.get("items"), dict):
            yield from _below(whole, items, f"{path}[]", within)
        for inner in option.get("patternProperties", {}).values():
            if inner.get("description") is None:
                yield from _below(whole, inner, f"{path}.<name>", within)
        if isinstance(inner := option.get("additionalProperties"), dict):
            yield from _below(whole, inner, f"{path}.<name>", within)


def _types(whole: Mapping[str, Any], node: Mapping[str, Any]) -> list[str]:
    """The kinds of value that are taken, apart from nothing and variables, which all take."""
    found: list[str] = []
    for option in node.get("anyOf", [node]):
        name = option.get("$ref", "").rpartition("/")[2]
        if name == "variable" or option.get("type") == "null":
            continue
        if name:
            inner = whole["definitions"][name]
            kinds = ["mapping"] if "properties" in inner else _types(whole, inner)
        elif "enum" in option or "const" in option:
            kinds = [f"`{_plain(it)}`" for it in option.get("enum", [option.get("const")])]
        else:
            kind = {"object": "mapping", "array": "list", "string": "text"}
            kinds = [kind.get(it, it) for it in [option.get("type", "any")]]
        found += [it for it in kinds if it not in found]
    return found


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def main() -> int:
    """Write the files, or with `--check` name those that are stale."""
    stale = [
        path
        for path, wanted in pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != wanted
    ]
    for path in stale:
        sys.stdout.write(f"{path.name}\n")
        if "--check" not in sys.argv:
            path.write_text(pages()[path], encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
