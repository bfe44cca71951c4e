"""What seeds make: the statements of SQL files, objects, and records of extensions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

from algaenv.model import kind
from algaenv.model.content import ContentIds, ObjectSeedSpec, RecordSeedSpec, SqlSeedSpec
from algaenv.model.intent import ObjectSeed
from algaenv.model.kind import Address, Tier
from algaenv.model.lock import Lock
from algaenv.model.resource import Json, Resource

_DIGITS = 16
"""Of a digest in the inputs of a seed."""


def desired_seeds(
    lock: Lock, ids: ContentIds, rows: Sequence[Address], needs_store: Sequence[Address]
) -> Iterator[Resource]:
    """The seeds that this run is about. `rows` are what SQL needs: tables, tenant and releases.

    SQL files need the one before them, too: they are applied in the order of the spec.
    """
    if lock.seed_files is not None:
        before: tuple[Address, ...] = ()
        for sql in lock.intent.seed.sql:
            content = lock.seed_files.sql[sql.name]
            address = kind.SEED_SQL.address(sql.name)
            yield Resource(
                address,
                Tier.CONTENT,
                {"content": hashlib.sha256(content).hexdigest()[:_DIGITS]},
                SqlSeedSpec(sql.file, content),
                (*rows, *before),
            )
            before = (address,)
        for objects in lock.intent.seed.objects:
            files = lock.seed_files.objects[place_of(objects)]
            yield _objects(objects, files, needs_store)
    registered = {it.name for it in lock.extensions}
    for seed in lock.intent.seed.records:
        if seed.extension not in registered:
            continue
        digests: dict[str, Json] = {
            f"records.{namespace}/{key}": value_digest(value)
            for namespace, records in seed.records.items()
            for key, value in records.items()
        }
        yield Resource(
            kind.SEED_RECORDS.address(seed.extension),
            Tier.CONTENT,
            digests,
            RecordSeedSpec(
                seed.extension, ids.tenant_id, ids.registry[seed.extension], seed.records
            ),
            (kind.RELEASE.address(seed.extension),),
        )


def place_of(seed: ObjectSeed) -> str:
    """`bucket/prefix`: the name of the seed's address."""
    return f"{seed.bucket}/{seed.prefix}"


def value_digest(value: Json) -> str:
    """Stands for a value in the inputs of a seed."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def _objects(seed: ObjectSeed, files: Mapping[str, str], needs: Sequence[Address]) -> Resource:
    inputs: dict[str, Json] = {
        f"objects.{path}": digest[:_DIGITS] for path, digest in files.items()
    }
    return Resource(
        kind.SEED_OBJECTS.address(place_of(seed)),
        Tier.CONTENT,
        inputs,
        ObjectSeedSpec(seed.source, seed.bucket, seed.prefix, files),
        (*needs, kind.BUCKET.address(seed.bucket)),
    )
