"""Bundles that are kept for a rollback, on a real object store."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from algaenv.bundle.archive import pack
from algaenv.bundle.collect import collect
from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import bundle_key
from algaenv.drivers.kept_bundles import fetch_bundle
from algaenv.drivers.object_store import StoreEndpoint
from algaenv.model.problem import Failed
from algaenv.model.secret import Secret
from algaenv.spec.paths import stacks_root
from tests.servers import ObjectStore


def test_a_bundle_is_copied_once_and_a_damaged_one_refused(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    archive = tmp_path / "hello.tar.zst"
    pack(collect(stacks_root() / "hello-world/extension"), archive)
    digest = Digest.of_file(archive)
    key = bundle_key(str(uuid.uuid4()), str(uuid.uuid4()), digest)
    bucket, client = f"kept-{uuid.uuid4()}", object_store.s3()
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key=key, Body=archive.read_bytes())
    store = StoreEndpoint(
        object_store.endpoint,
        Secret(object_store.access_key),
        Secret(object_store.secret_key),
        "us-east-1",
    )
    directory, handle = tmp_path / "kept", f"{bucket}/{key}"
    fetched = fetch_bundle(store, handle, directory)
    assert fetched.archive.read_bytes() == archive.read_bytes()
    assert (fetched.digest, fetched.manifest.name) == (digest, "dev.algaenv.sample.hello-world")
    page = stacks_root() / "hello-world/extension/ui/index.html"
    assert fetched.page_sha256 == Digest.of_file(page).hex
    # A damaged copy is fetched anew.
    fetched.archive.write_bytes(b"damaged")
    assert fetch_bundle(store, handle, directory).archive.read_bytes() == archive.read_bytes()
    # A whole copy needs no store.
    client.put_object(Bucket=bucket, Key=key, Body=b"other bytes")
    assert fetch_bundle(store, handle, directory) == fetched
    fetched.archive.unlink()
    with pytest.raises(Failed, match="kept-damaged"):
        fetch_bundle(store, handle, directory)
    (directory / fetched.archive.name).unlink()
    client.delete_object(Bucket=bucket, Key=key)
    with pytest.raises(Failed, match="it is gone"):
        fetch_bundle(store, handle, directory)
    assert list(directory.iterdir()) == []
