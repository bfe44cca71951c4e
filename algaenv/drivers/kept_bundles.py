"""Bundles that the object store has kept, copied to this machine and looked into."""

from __future__ import annotations

from pathlib import Path

from algaenv.bundle.archive import inspect
from algaenv.bundle.diagnostics import ArchiveError
from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import parse_bundle_key
from algaenv.bundle.manifest.model import ManifestError, parse
from algaenv.drivers.object_store import TRANSFER_SECONDS, Bucket, StoreEndpoint
from algaenv.model.problem import Failed, Problem
from algaenv.reconcile.protocols import FetchedBundle


def fetch_bundle(store: StoreEndpoint, handle: str, directory: Path) -> FetchedBundle:
    """The bundle of an observation's handle, copied into `directory` unless a whole copy is there.

    Raises Failed (`kept-damaged`), and what the store raises.
    """
    bucket, _, key = handle.partition("/")
    parsed = parse_bundle_key(key)
    if parsed is None:  # Observations of bundles are made of such keys.
        raise ValueError(handle)
    archive = directory / f"{parsed.digest.hex}.tar.zst"
    if not (archive.is_file() and Digest.of_file(archive) == parsed.digest):
        Bucket(store, bucket, TRANSFER_SECONDS).download(key, archive)
    try:
        if Digest.of_file(archive) != parsed.digest:
            raise ArchiveError("archive-damaged", "it holds other bytes than were uploaded")
        text, page = inspect(archive)
        manifest = parse(text).manifest
    except (ArchiveError, ManifestError) as error:
        raise Failed(
            Problem(
                "kept-damaged",
                f"cannot read the bundle {parsed.digest.short} that was kept: {error}",
                f"delete {key} from the bucket {bucket}",
            )
        ) from error
    return FetchedBundle(archive, parsed.digest, manifest, page)
