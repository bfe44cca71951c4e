"""Every code of a problem is listed with its meaning, and every listed one is in use."""

from __future__ import annotations

import re
from pathlib import Path

import algaenv.gateway
from algaenv.gateway.quirks import QUIRKS
from algaenv.problems import load_problem_codes

CODES = load_problem_codes()["gateway"]
SOURCES = [path.read_text() for path in Path(algaenv.gateway.__file__).parent.rglob("*.py")]


def test_codes() -> None:
    used = {code for text in SOURCES for code in re.findall(r'"(gateway-[a-z-]+)"', text)}
    used.discard("gateway-")
    assert used == {each.code for each in CODES}
    assert all(each.meaning.endswith(".") for each in CODES)


def test_faults_have_names_of_their_own() -> None:
    assert len({fault.name for fault in QUIRKS}) == len(QUIRKS)
    assert all(fault.summary and fault.advice for fault in QUIRKS)
