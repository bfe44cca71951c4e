"""Bundles that the object store has kept, copied to this machine and looked into."""

from __future__ import annotations

from pathlib import Path

from algaenv.bundle.archive import inspect
from algaenv.bundle.diagnostics import ArchiveError
from algaenv.bundle.digest import Digest
from algaenv.bundle.layout import parse_bundle_key
from algaenv.bundle.manifest.model import ManifestError, parse
from algaenv.drivers.object_store import TRANSFER_SECONDS, Bucket, StoreEndpoint
from algaenv.drivers.state import private_files
from algaenv.model.problem import Failed, Problem
from algaenv.reconcile.protocols import FetchedBundle
from algaenv.system import files


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
        _download(Bucket(store, bucket, TRANSFER_SECONDS), key, archive)
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


def _download(bucket: Bucket, key: str, target: Path) -> None:
    """Write an object to a file, 0600, wholly or not at all."""
    with private_files.translate_os_errors(target):
        target.parent.mkdir(mode=private_files.PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        with files.replacing(target) as stream:

            def write(chunk: bytes) -> None:
                # Translated at once: to the bucket an error of this disk would be one of the store.
                with private_files.translate_os_errors(target):
                    stream.write(chunk)

            if bucket.read(key, write) is None:
                raise Failed(
                    Problem(
                        "kept-damaged",
                        f"cannot read {key} from the bucket {bucket.name}: it is gone",
                        "run the command again, which lists what is there now",
                    )
                )
