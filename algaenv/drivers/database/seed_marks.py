"""The marks of seeds: what each has made, in a table beside Alga's; and what is observed of them.

A mark is written in the transaction that makes the rows, and before the first object is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from algaenv.bundle.value import dataclass
from algaenv.drivers.database.queries import SEED_TABLE, read_columns
from algaenv.drivers.object_store import StoredObject
from algaenv.model.drift import Drift
from algaenv.model.kind import SEED_OBJECTS, Address
from algaenv.model.resource import Inputs, Present

if TYPE_CHECKING:
    from algaenv.drivers.database.session import Connection


@dataclass(frozen=True, slots=True)
class SeedMark:
    """What is recorded of a seed.

    `made` names what it has made: paths of objects with `md5` and `size`, or the install, the
    tenant and the records. Not `finished`: a run was killed, and some of it may be there.
    """

    address: Address
    fingerprint: str
    inputs: Inputs
    made: Mapping[str, Any]
    finished: bool


def parse_mark(row: Mapping[str, Any]) -> SeedMark:
    """A row of SEED_TABLE."""
    address = Address.parse(row["address"])
    return SeedMark(address, row["fingerprint"], row["inputs"], row["made"], row["finished"])


def read_mark(connection: Connection, address: Address) -> SeedMark | None:
    """The mark of a seed, locked until the transaction ends; makes the table if it is missing."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('algaenv/seeds'))")
    if SEED_TABLE not in read_columns(connection, [SEED_TABLE]):
        connection.execute(
            f"CREATE TABLE {SEED_TABLE} (address text PRIMARY KEY, fingerprint text NOT NULL,"
            " inputs jsonb NOT NULL, made jsonb NOT NULL, finished boolean NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
    row = connection.execute(
        f"SELECT to_jsonb(s) FROM {SEED_TABLE} s WHERE s.address = %s",  # noqa: S608
        (str(address),),
    ).fetchone()
    return parse_mark(row[0]) if row else None


def write_mark(connection: Connection, mark: SeedMark) -> None:
    """Record a seed."""
    connection.execute(
        f"INSERT INTO {SEED_TABLE} AS s (address, fingerprint, inputs, made, finished)"  # noqa: S608
        " VALUES (%s, %s, %s::jsonb, %s::jsonb, %s) ON CONFLICT (address) DO UPDATE SET"
        " fingerprint = excluded.fingerprint, inputs = excluded.inputs, made = excluded.made,"
        " finished = excluded.finished, applied_at = excluded.applied_at",
        (
            str(mark.address),
            mark.fingerprint,
            json.dumps(dict(mark.inputs)),
            json.dumps(dict(mark.made)),
            mark.finished,
        ),
    )


def delete_mark(connection: Connection, address: Address) -> None:
    """Forget a seed."""
    connection.execute(f"DELETE FROM {SEED_TABLE} WHERE address = %s", (str(address),))  # noqa: S608


def observe_seeds(
    marks: Sequence[SeedMark], listings: Mapping[Address, Sequence[StoredObject]]
) -> Mapping[Address, Present]:
    """What is there of the seeds; `listings` are the objects below the prefix of each."""
    return {it.address: _present(it, listings.get(it.address)) for it in marks}


def seeded_places(marks: Sequence[SeedMark]) -> Iterator[tuple[Address, str, str]]:
    """Address, bucket and prefix of the seeds that have made objects."""
    for mark in marks:
        if mark.address in SEED_OBJECTS:
            bucket, _, prefix = mark.address.name.partition("/")
            yield mark.address, bucket, prefix


def _present(mark: SeedMark, listing: Sequence[StoredObject] | None) -> Present:
    drift: list[Drift] = []
    if not mark.finished:
        drift.append(Drift("an earlier run did not finish it", "finished", "true", "false"))
    elif listing is not None:
        prefix = mark.address.name.partition("/")[2]
        there = {it.key: it for it in listing}
        for path, made in mark.made.items():
            found = there.get(prefix + path)
            field = f"objects.{path}"
            if found is None:
                drift.append(Drift(f"the object {path} is gone", field, "present", ""))
            elif differs(found, made):
                phrase = f"the object {path} holds other bytes"
                drift.append(Drift(phrase, field, "the file", "other bytes", found.modified))
    return Present(mark.fingerprint, mark.inputs, tuple(drift))


def differs(found: StoredObject, made: Mapping[str, Any]) -> bool:
    """Whether the object is surely another one than was made; only a plain MD5 proves anything."""
    plain = len(found.etag) == 32 and "-" not in found.etag
    return found.size != made.get("size") or (plain and found.etag != made.get("md5"))
