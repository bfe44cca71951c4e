"""Every right spec in `good/` means exactly what its `.json` says.

With UPDATE_EXPECTED=1 the files are written instead, to be read before they are kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from algaenv.spec.cache import encode
from algaenv.spec.load import load
from algaenv.spec.paths import profile, profile_names

GOOD = Path(__file__).parent / "good"
ENVIRON: Mapping[str, str] = {
    "NAME": "from-environment",
    "PORT": "16380",
    "AUTO": "auto",
    "NUMBER": "90",
    "EMPTY": "",
    "FALSE": "no",
    "DIRECTORY": "hello",
    "PASSWORD": "p%40ss",
    "AUTH_KEY": "key of the app",
}


@pytest.fixture(scope="module")
def shipped() -> Mapping[str, str]:
    """Encoded profile → its name."""
    return {json.dumps(encode(profile(name))): name for name in profile_names()}


def short(plain: Any, shipped: Mapping[str, str]) -> Any:
    """The encoded value with shipped profiles by name and paths relative to here."""
    if isinstance(plain, dict):
        name = shipped.get(json.dumps(plain))
        if name:
            return f"<{name}>"
        return {key: short(value, shipped) for key, value in plain.items()}
    if isinstance(plain, list):
        return [short(item, shipped) for item in plain]
    if isinstance(plain, str):
        return plain.replace(str(GOOD), "<here>").replace(str(GOOD.parent), "<above>")
    return plain


@pytest.mark.parametrize("name", sorted(path.stem for path in GOOD.glob("*.yaml")))
def test_means_what_it_says(
    name: str, shipped: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(GOOD)
    loaded = load(Path(f"{name}.yaml"), ENVIRON)
    meant = json.dumps(short(encode(loaded.intent), shipped), indent=1, ensure_ascii=False) + "\n"
    expected = GOOD / f"{name}.json"
    if os.environ.get("UPDATE_EXPECTED"):
        expected.write_text(meant, encoding="utf-8")
    assert json.loads(meant) == json.loads(expected.read_text(encoding="utf-8"))
