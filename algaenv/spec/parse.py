"""Bytes in, positioned tree out; what is no text or no YAML is complained about where it stands."""

from __future__ import annotations

import codecs
import re

from algaenv.model.problem import Where
from algaenv.spec.compose import Abandoned, Composer
from algaenv.spec.ledger import Ledger
from algaenv.spec.tree import Node

_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def decode(content: bytes, file: str, ledger: Ledger) -> str | None:
    """UTF-8 bytes as text; None after a complaint."""
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        ledger.complain(
            "spec-encoding",
            f"read byte 0x{content[error.start]:02x} as UTF-8",
            "save the file as UTF-8",
            Where(file, line, column),
        )
        return None
    if odd := _FORBIDDEN.search(text):
        before_odd = text[: odd.start()]
        where = Where(file, before_odd.count("\n") + 1, len(before_odd) - before_odd.rfind("\n"))
        ledger.complain(
            "spec-character",
            f"use the control character U+{ord(odd[0]):04X}",
            "delete it, or write it as an escape in double quotes",
            where,
        )
        return None
    return text


def parse(text: str, file: str, ledger: Ledger) -> Node | None:
    """The one document of `text`; None when it is empty, or after a complaint."""
    import yaml

    try:
        return Composer(text, file, ledger).document()
    except Abandoned:
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Where(file, mark.line + 1, mark.column + 1) if mark else Where(file, 1, 1)
        said = (error.problem or "it is malformed").strip()
        if _line(text, where)[where.column - 1 : where.column] == "\t":
            ledger.complain("spec-tab", "indent with a tab", "use spaces", where)
        else:
            ledger.complain(
                "spec-syntax",
                f"read this as YAML: {said}",
                _syntax_hint(said, _line(text, where)),
                where,
            )
        return None
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        ledger.complain(
            "spec-syntax", f"read this as YAML: {said}", _syntax_hint(said, ""), Where(file, 1, 1)
        )
        return None


def _line(text: str, where: Where) -> str:
    lines = text.splitlines()
    return lines[where.line - 1] if where.line <= len(lines) else ""


def _syntax_hint(said: str, line: str) -> str:
    if "${" in line:
        return 'inside of braces and brackets put a variable into quotes: "${NAME}"'
    if "cannot start any token" in said:
        return "put text that begins with this character into quotes"
    if "mapping values are not allowed" in said:
        return "check the indentation, and put text that holds `: ` into quotes"
    return "check the indentation, brackets and quotes around this place"
