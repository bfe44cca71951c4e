"""What is read from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from algaenv.runner.settings import (
    InvalidSettings,
    Settings,
    read_secrets,
    without_login,
)

NEEDED = {"ALGA_AUTH_KEY": " key ", "REGISTRY_BASE_URL": "https://app.example.com/base"}


def test_secrets_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    file.write_text('{"ALGA_AUTH_KEY": "of the file", "MINE": ""}')
    assert read_secrets({}) == {}
    assert read_secrets({"RUNNER_SECRETS_FILE": ""}) == {}
    found = read_secrets({**NEEDED, "RUNNER_SECRETS_FILE": str(file)})
    assert Settings.read({**NEEDED, **found}).auth_key == "of the file"


@pytest.mark.parametrize("text", ["{hidden", '["hidden"]', '{"A": 7, "B": "hidden"}', None])
def test_a_file_of_secrets_that_cannot_be_read_is_named_and_not_shown(
    tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "secrets.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        read_secrets({"RUNNER_SECRETS_FILE": str(file)})
    assert str(file) in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_defaults() -> None:
    read = Settings.read(NEEDED)
    assert (read.host, read.port, read.auth_key) == ("0.0.0.0", 8080, "key")
    assert read.source.url == "http://localhost:9000/alga-ext"
    assert (read.source.bucket, read.source.region) == ("alga-ext", "us-east-1")
    assert not read.source.signed
    assert read.cache_root == Path("/tmp/alga-ext-cache")
    assert (read.cache_max_bytes, read.static_max_bytes) == (None, None)
    assert (read.demands_tenant, read.asks_registry) == (True, True)


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("80", 80),
        ("0", 0),
        ("65536", 8080),
        ("x", 8080),
        ("", 8080),
        ("-1", 8080),
        ("9" * 5000, 8080),
    ],
)
def test_ports(text: str, port: int) -> None:
    assert Settings.read(NEEDED | {"PORT": text}).port == port


@pytest.mark.parametrize(
    ("base", "keys", "bucket", "prefix", "signed"),
    [
        ("http://s:9000/b", "yes", "b", "", True),
        ("http://s:9000/b/", "yes", "b", "", True),
        ("http://s:9000/b/c/d/", "yes", "b", "c/d", True),
        ("http://s:9000/b", "", "b", "", False),
        ("http://s:9000/", "yes", "", "", False),
        ("http://s:9000", "yes", "", "", False),
    ],
)
def test_sources(base: str, keys: str, *, bucket: str, prefix: str, signed: bool) -> None:
    env = {"BUNDLE_STORE_BASE": base, "MINIO_ACCESS_KEY": keys, "MINIO_SECRET_KEY": keys}
    source = Settings.read(NEEDED | env).source
    assert source.endpoint == "http://s:9000"
    assert (source.bucket, source.prefix, source.signed) == (bucket, prefix, signed)


def test_secrets_do_not_show() -> None:
    env = {"ALGA_AUTH_KEY": "hidden1", "S3_ACCESS_KEY": "hidden2", "S3_SECRET_KEY": "hidden3"}
    assert "hidden" not in repr(Settings.read(NEEDED | env))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://u:p@h:1/x/y?key=z", "http://h:1/x/y"),
        ("http://h", "http://h"),
        ("http://u:p/q@h/x", "http://h/x"),
        ("u:p@h/x", "h/x"),
    ],
)
def test_urls_without_logins(url: str, shown: str) -> None:
    assert without_login(url) == shown
