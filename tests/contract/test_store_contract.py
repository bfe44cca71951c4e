"""What every object store must do for us, whichever engine it is."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from algaenv.bundle.digest import Digest
from algaenv.drivers.content_host import StoreAndDatabase
from algaenv.drivers.object_store import Bucket, StoreEndpoint
from algaenv.model.content import BundleSpec
from algaenv.model.problem import Conflict, Failed, Refused, Unavailable
from algaenv.model.resource import Absent, Resource
from algaenv.model.secret import Secret
from tests.drivers.content_environment import ContentEnvironment
from tests.params import slow_params
from tests.servers import (
    Database,
    ObjectStore,
    database,
    free_port,
    minio,
    object_store,
    postgres,
    rclone,
)

__all__ = ["database", "minio", "object_store", "postgres", "rclone"]


RCLONE_SLOW = pytest.mark.parametrize(
    "object_store", ["minio", *slow_params("rclone")], indirect=True
)
MINIO_SLOW = pytest.mark.parametrize(
    "object_store", ["rclone", *slow_params("minio")], indirect=True
)


@pytest.fixture
def env(database: Database, object_store: ObjectStore, tmp_path: Path) -> ContentEnvironment:
    return ContentEnvironment(database, object_store, tmp_path)


@pytest.fixture
def bucket(env: ContentEnvironment) -> Bucket:
    """A bucket that is there."""
    make_bucket(env)
    return opened(env)


def store_of(env: ContentEnvironment, **changes: Secret | str) -> StoreEndpoint:
    values = {
        "endpoint": env.store.endpoint,
        "access_key": Secret(env.store.access_key),
        "secret_key": Secret(env.store.secret_key),
        "region": "us-east-1",
    }
    return StoreEndpoint(**{**values, **changes})  # type: ignore[arg-type]


def opened(env: ContentEnvironment, **changes: Secret | str) -> Bucket:
    return Bucket(store_of(env, **changes), env.bucket)


def make_bucket(env: ContentEnvironment) -> None:
    resource = env.resource(f"bucket/{env.bucket}")
    StoreAndDatabase(env.lock()).drivers()["bucket"].create(resource, env.messages.append)


def bundle_of(env: ContentEnvironment) -> tuple[Resource, BundleSpec]:
    for resource in env.wanted():
        if isinstance(resource.body, BundleSpec):
            return resource, resource.body
    raise AssertionError


def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "archive"
    path.write_bytes(content)
    return path


def test_objects_come_back_as_they_were_put(bucket: Bucket, tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    bucket.put("tenants/a/one", file(tmp_path, content))
    assert bucket.digest("tenants/a/one") == (Digest.of(content).hex, len(content))
    found = bucket.head("tenants/a/one")
    assert found is not None
    assert (found.key, found.size) == ("tenants/a/one", len(content))
    assert found.md5_matches(tmp_path / "archive")
    assert not found.md5_differs(tmp_path / "archive")
    (listed,) = bucket.list("tenants/a/") or ()
    assert (listed.key, listed.size, listed.etag) == (found.key, found.size, found.etag)
    assert listed.modified[:16] == found.modified[:16]


def test_an_object_is_overwritten_and_deleted_twice(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("k/one", file(tmp_path, b"first"))
    bucket.put("k/one", file(tmp_path, b"second!"))
    found = bucket.head("k/one")
    assert found is not None
    assert found.size == 7
    bucket.delete("k/one")
    bucket.delete("k/one")
    assert bucket.head("k/one") is None
    assert bucket.digest("k/one") is None
    assert bucket.list("k/") == ()


@MINIO_SLOW
def test_a_listing_has_as_many_pages_as_it_needs(bucket: Bucket, tmp_path: Path) -> None:
    content = file(tmp_path, b"x")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: bucket.put(f"many/{n:04}", content), range(1005)))
    assert len(bucket.list("many/") or ()) == 1005


def test_a_missing_bucket_differs_from_an_empty_one(
    env: ContentEnvironment, tmp_path: Path
) -> None:
    bucket = opened(env)
    assert bucket.list("tenants/") is None
    assert bucket.head("k") is None
    bucket.delete("k")
    with pytest.raises(Refused) as caught:
        bucket.put("k", file(tmp_path, b"x"))
    assert caught.value.problem.code == "bucket-missing"
    make_bucket(env)
    make_bucket(env)
    assert opened(env).list("tenants/") == ()


@pytest.mark.parametrize("key", ["secret_key", "access_key"])
def test_wrong_keys_are_refused_without_naming_them(
    bucket: Bucket, env: ContentEnvironment, tmp_path: Path, key: str
) -> None:
    wrong = opened(env, **{key: Secret("not-the-right-one")})
    for attempt in (
        lambda: wrong.list("k/"),
        lambda: wrong.head("k"),
        lambda: wrong.digest("k"),
        lambda: wrong.put("k", file(tmp_path, b"x")),
        lambda: wrong.delete("k"),
    ):
        with pytest.raises(Refused) as caught:
            attempt()
        assert caught.value.problem.code == "store-denied"
        assert "not-the-right-one" not in str(caught.value)
        assert env.store.secret_key not in str(caught.value)


def test_nobody_at_the_port_is_unavailable_at_once(env: ContentEnvironment, tmp_path: Path) -> None:
    dead = opened(env, endpoint=f"http://127.0.0.1:{free_port()}")
    for attempt in (
        lambda: dead.list("k/"),
        lambda: dead.head("k"),
        lambda: dead.put("k", file(tmp_path, b"x")),
    ):
        with pytest.raises(Unavailable) as caught:
            attempt()
        assert caught.value.problem.code == "store-unreachable"
        assert "secret" not in str(caught.value).lower()


def test_the_environment_of_the_author_plays_no_part(
    env: ContentEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings for AWS and a company's proxy are for other things than a store on this machine."""
    unreachable = f"http://127.0.0.1:{free_port()}"
    for name, value in {
        "AWS_SESSION_TOKEN": "token",
        "AWS_PROFILE": "work",
        "AWS_ACCESS_KEY_ID": "other",
        "AWS_SECRET_ACCESS_KEY": "other",
        "AWS_ENDPOINT_URL": unreachable,
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_REGION": "eu-west-9",
        "HTTP_PROXY": unreachable,
        "http_proxy": unreachable,
        "ALL_PROXY": unreachable,
    }.items():
        monkeypatch.setenv(name, value)
    make_bucket(env)
    bucket = opened(env)
    bucket.put("k/one", file(tmp_path, b"x"))
    assert [it.key for it in bucket.list("k/") or ()] == ["k/one"]


@RCLONE_SLOW
def test_a_bucket_with_objects_is_not_removed(
    bucket: Bucket, env: ContentEnvironment, tmp_path: Path
) -> None:
    seen = env.present(f"bucket/{env.bucket}")
    address = env.resource(f"bucket/{env.bucket}").address
    drivers = StoreAndDatabase(env.lock()).drivers()["bucket"]
    bucket.put("k/one", file(tmp_path, b"x"))
    with pytest.raises(Conflict) as caught:
        drivers.delete(address, seen, env.messages.append)
    assert caught.value.problem.code == "bucket-not-empty"
    bucket.delete("k/one")
    drivers.delete(address, seen, env.messages.append)
    drivers.delete(address, seen, env.messages.append)
    assert isinstance(env.seen()[address], Absent)


@RCLONE_SLOW
def test_several_buckets_are_seen_and_made(env: ContentEnvironment) -> None:
    env.buckets = (*env.buckets, f"{env.bucket}-more")
    env.up()
    assert env.settled()
    env.store.s3().delete_bucket(Bucket=f"{env.bucket}-more")
    assert env.up() == [f"create bucket/{env.bucket}-more"]


@RCLONE_SLOW
def test_a_bundle_is_put_once(env: ContentEnvironment) -> None:
    env.up()
    uploads = [it for it in env.messages if it.startswith("uploading")]
    assert len(uploads) == 1
    resource, _ = bundle_of(env)
    StoreAndDatabase(env.lock()).drivers()["bundle"].create(resource, env.messages.append)
    assert [it for it in env.messages if it.startswith("uploading")] == uploads


def test_the_content_type_is_the_one_alga_sets(env: ContentEnvironment) -> None:
    env.up()
    (key,) = env.objects()
    head = env.store.s3().head_object(Bucket=env.bucket, Key=key)
    assert head["ContentType"] == "application/octet-stream"


@MINIO_SLOW
def test_a_bundle_of_another_size_or_content_is_seen_and_healed(env: ContentEnvironment) -> None:
    env.up()
    resource, body = bundle_of(env)
    address = str(resource.address)
    for content in (b"short", b"x" * body.size):
        env.store.s3().put_object(Bucket=env.bucket, Key=body.key, Body=content)
        assert env.present(address).drift
        assert env.up() == [f"update {address}"]
        assert env.present(address).drift == ()
    assert Bucket(store_of(env), env.bucket).digest(body.key) == (body.digest.hex, body.size)


@RCLONE_SLOW
def test_older_bundles_say_when_they_were_put(env: ContentEnvironment) -> None:
    env.up()
    env.change(build="second")
    env.up()
    notes = {
        str(it): there.note
        for it, there in env.snapshot().observe(()).items()
        if it.kind == "bundle" and hasattr(there, "note")
    }
    assert len(notes) == 2
    assert sorted(notes.values())[-1] == notes[str(bundle_of(env)[0].address)]
    assert all(it.endswith("Z") and "T" in it for it in notes.values())


def test_an_archive_that_is_gone_or_changed_is_never_uploaded(env: ContentEnvironment) -> None:
    make_bucket(env)
    resource, body = bundle_of(env)
    drivers, archive = StoreAndDatabase(env.lock()).drivers()["bundle"], Path(body.archive)
    archive.write_bytes(b"y" * body.size)
    with pytest.raises(Failed) as caught:
        drivers.create(resource, env.messages.append)
    assert caught.value.problem.code == "archive-changed"
    archive.unlink()
    with pytest.raises(Failed) as caught:
        drivers.create(resource, env.messages.append)
    assert caught.value.problem.code == "archive-missing"
    assert env.objects() == []


def test_a_large_bundle_arrives_whole(
    bucket: Bucket, env: ContentEnvironment, tmp_path: Path
) -> None:
    content = b"0123456789abcdef" * (2 * 1024 * 1024)
    bucket.put("large", file(tmp_path, content))
    assert bucket.digest("large") == (Digest.of(content).hex, len(content))
    found = bucket.head("large")
    assert found is not None
    assert found.md5_matches(tmp_path / "archive"), "an ETag in parts would prove nothing"


def test_many_bundles_at_once(env: ContentEnvironment) -> None:
    make_bucket(env)
    resource, _ = bundle_of(env)
    drivers = StoreAndDatabase(env.lock()).drivers()["bundle"]
    failed: list[BaseException] = []

    def put() -> None:
        try:
            drivers.create(resource, env.messages.append)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=put) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(env.objects()) == 1
    assert all(isinstance(it, Unavailable) for it in failed), failed
