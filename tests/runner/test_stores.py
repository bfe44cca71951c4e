"""Bundles out of genuine S3 servers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .archives import INDEX, TENANT, bundle
from .conftest import Start
from .stores import Store

WHO = {"x-tenant-id": TENANT}


def test_a_private_bucket(start: Start, store: Store) -> None:
    made = bundle()
    store.put(made.key, made.archive)
    service = start(**store.env)
    answer = service.ask(made.path(), WHO)
    assert (answer.status, answer.body) == (200, INDEX)
    health = service.ask("/healthz")
    assert (health.status, health.json["bundle_store"]) == (200, "ok")
    assert service.ask("/readyz").json == {
        "ready": True,
        "cache_writable": True,
        "store": "ok",
        "store_access": "signed",
    }


def test_a_base_with_a_prefix_and_minio_names(start: Start, store: Store) -> None:
    made = bundle()
    name = "tenant é b"
    store.put(f"deep/er/{made.key_of(name)}", made.archive)
    env = {
        "BUNDLE_STORE_BASE": f"{store.endpoint}/{store.bucket}/deep/er/",
        "MINIO_ACCESS_KEY": store.env["S3_ACCESS_KEY"],
        "MINIO_SECRET_KEY": store.env["S3_SECRET_KEY"],
        "S3_ACCESS_KEY": "",
    }
    answer = start(**env).ask(made.path() + "?tenant=tenant%20%C3%A9+b")
    assert (answer.status, answer.body) == (200, INDEX)


def test_a_bundle_that_is_not_there_is_asked_for_again(start: Start, store: Store) -> None:
    made = bundle()
    service = start(**store.env)
    missing = service.ask(made.path(), WHO)
    assert (missing.status, missing.json) == (500, {"code": "extract_failed"})
    assert missing.headers["cache-control"] == "no-store"
    assert service.line("request", status=500)["why"] == "store: 404 Not Found"
    store.put(made.key, made.archive)
    assert service.ask(made.path(), WHO).status == 200


def test_other_bytes_under_the_key(start: Start, store: Store, tmp_path: Path) -> None:
    made = bundle()
    store.put(made.key, bytes([made.archive[0] ^ 0xFF]) + made.archive[1:])
    service = start(**store.env)
    answer = service.ask(made.path(), WHO)
    assert (answer.status, answer.json) == (502, {"code": "archive_hash_mismatch"})
    assert service.line("HASH_MISMATCH")["expected"] == made.digest.hex
    assert not (tmp_path / "cache" / made.digest.hex).exists()
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []
    store.put(made.key, made.archive)
    assert service.ask(made.path(), WHO).status == 200


def test_down_and_back(start: Start, store: Store) -> None:
    made, other = bundle(), bundle(note="other")
    for each in (made, other):
        store.put(each.key, each.archive)
    service = start(**store.env)
    assert service.ask(made.path(), WHO).status == 200
    store.stop()
    assert service.ask(made.path("other/route"), WHO).status == 200
    assert service.ask(other.path(), WHO).json == {"code": "extract_failed"}
    health, ready = service.ask("/healthz"), service.ask("/readyz")
    assert (health.status, health.json["bundle_store"]) == (200, "bundle_store_unreachable")
    assert (ready.status, ready.json["store"]) == (503, "unreachable")
    store.start()
    assert service.ask(other.path(), WHO).status == 200
    assert service.ask("/readyz").status == 200


@pytest.mark.parametrize(
    ("wrong", "state"),
    [
        ({"S3_SECRET_KEY": "not-the-secret-key"}, "credentials_refused"),
        ({"S3_ACCESS_KEY": "nobody-at-all"}, "credentials_refused"),
        ({"BUNDLE_STORE_BASE": "{endpoint}/no-such-bucket"}, "bucket_missing"),
    ],
)
def test_why_it_is_not_ready(start: Start, store: Store, wrong: dict[str, str], state: str) -> None:
    made = bundle()
    store.put(made.key, made.archive)
    wrong = {name: value.format(endpoint=store.endpoint) for name, value in wrong.items()}
    service = start(**store.env | wrong)
    ready = service.ask("/readyz")
    assert (ready.status, ready.json["ready"], ready.json["store"]) == (503, False, state)
    assert service.ask(made.path(), WHO).json == {"code": "extract_failed"}
    text = json.dumps(service.lines)
    for secret in ("not-the-secret-key", "nobody-at-all", store.env["S3_SECRET_KEY"], "Signature"):
        assert secret not in text
