"""Every code of a problem is listed with its meaning, and every listed one is in use."""

from __future__ import annotations

import re
from pathlib import Path

import algaenv.gateway
from algaenv.gateway.codes import CODES
from algaenv.gateway.quirks import QUIRKS

SOURCES = [
    path.read_text()
    for path in Path(algaenv.gateway.__file__).parent.glob("*.py")
    if path.name != "codes.py"
]


def test_codes() -> None:
    used = {code for text in SOURCES for code in re.findall(r'"(gateway-[a-z-]+)"', text)}
    used.discard("gateway-")
    assert used == {code for code, _ in CODES}
    assert [code for code, _ in CODES] == sorted({code for code, _ in CODES})
    assert all(meaning.endswith(".") for _, meaning in CODES)


def test_faults_have_names_of_their_own() -> None:
    assert len({fault.name for fault in QUIRKS}) == len(QUIRKS)
    assert all(fault.summary and fault.advice for fault in QUIRKS)
