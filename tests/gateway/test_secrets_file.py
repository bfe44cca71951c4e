"""The gateway's variables that come from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from algaenv.gateway.settings import ConfigError, read_secrets


def test_they_are_names_and_texts(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    file.write_text('{"DATABASE_URL": "postgresql://a:ü@b/c"}', "utf-8")
    assert read_secrets({"GATEWAY_SECRETS_FILE": str(file)}) == {
        "DATABASE_URL": "postgresql://a:ü@b/c"
    }
    assert read_secrets({}) == {}


@pytest.mark.parametrize("text", ["{hidden", "[]", '{"A": null, "B": "hidden"}', None])
def test_a_file_that_is_none_is_named_and_not_shown(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "secrets.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_secrets({"GATEWAY_SECRETS_FILE": str(file)})
    assert str(file) in str(caught.value)
    assert "hidden" not in str(caught.value)
