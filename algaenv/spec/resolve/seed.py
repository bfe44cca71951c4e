"""Resolves `seed`: files that exist, buckets and extensions of the spec, records that fit."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping
from pathlib import Path

from algaenv.bundle.manifest.json_text import JsonError, JsonPositions, load
from algaenv.model.intent import ObjectSeed, RecordSeed, SeedIntent, SqlSeed
from algaenv.model.problem import Where
from algaenv.model.resource import Json
from algaenv.spec.diagnostics import Diagnostics, suggestion
from algaenv.spec.document import Document
from algaenv.spec.nodes import NodePath, SourceMap
from algaenv.spec.paths import PathResolver, is_directory, is_file
from algaenv.spec.services import ExternalSpec

_ROOT = ("seed",)
_RESERVED = ("tenants/", "algaenv/")
"""Prefixes that bundles and their marks have, in the bucket of bundles."""


def resolve_seed(document: Document, source_map: SourceMap, diagnostics: Diagnostics) -> SeedIntent:
    """The seeds, without those that are wrong, after an error for each."""
    spec = document.seed
    if isinstance(document.database, ExternalSpec) and (spec.sql or spec.objects or spec.records):
        diagnostics.add_error(
            "spec-seed-external",
            "seed an external database: its rows are not those of this environment",
            "delete `seed`, or leave `database.url` out",
            source_map.key(_ROOT),
        )
        return SeedIntent()
    resolver = _SeedResolver(document, source_map, diagnostics)
    return SeedIntent(tuple(resolver.sql()), tuple(resolver.objects()), tuple(resolver.records()))


class _SeedResolver:
    def __init__(self, document: Document, source_map: SourceMap, diagnostics: Diagnostics) -> None:
        self._document = document
        self._map = source_map
        self._diagnostics = diagnostics
        self._paths = PathResolver(diagnostics)

    def sql(self) -> Iterator[SqlSeed]:
        taken: set[str] = set()
        for index, text in enumerate(self._document.seed.sql):
            where = self._map.value((*_ROOT, "sql", index))
            path = self._paths.absolute(text, where)
            if not is_file(path):
                self._missing(text, "there is no such file", where)
            elif path in taken:
                self._twice(f"apply {text}", "the list has it already", where)
            else:
                taken.add(path)
                yield SqlSeed(os.path.normpath(text), path, _named(text, where), where)

    def objects(self) -> Iterator[ObjectSeed]:
        store = self._document.store
        buckets = tuple(dict.fromkeys((store.bucket, *store.buckets)))
        taken: list[tuple[str, str]] = []
        for index, spec in enumerate(self._document.seed.objects):
            path: NodePath = (*_ROOT, "objects", index)
            where = self._map.value((*path, "source"))
            source = self._paths.absolute(spec.source, where)
            bucket = spec.bucket or store.bucket
            prefix = f"{spec.prefix.rstrip('/')}/" if spec.prefix else ""
            if not is_directory(source):
                self._missing(spec.source, "there is no such directory", where)
            elif bucket not in buckets:
                self._target(
                    f"seed the bucket {bucket}: the store has none of that name",
                    suggestion(bucket, buckets),
                    self._map.value((*path, "bucket")),
                )
            elif bucket == store.bucket and prefix.startswith(_RESERVED):
                self._target(
                    f"seed {prefix} of the bucket {bucket}: bundles are kept there",
                    "choose another prefix, or another bucket",
                    self._map.value((*path, "prefix")),
                )
            elif bucket == store.bucket and not prefix and _holds_reserved(source):
                self._target(
                    f"seed {spec.source} without a prefix: bundles of the bucket {bucket} are kept"
                    f" below {' and '.join(_RESERVED)}",
                    "choose a prefix, another bucket, or other names for these directories",
                    where,
                )
            elif any(it == bucket and _overlap(prefix, other) for it, other in taken):
                what = f"seed {bucket}/{prefix} from {spec.source}"
                self._twice(what, "another directory has that prefix, or a part of it", where)
            else:
                taken.append((bucket, prefix))
                yield ObjectSeed(source, bucket, prefix, where)

    def records(self) -> Iterator[RecordSeed]:
        known = tuple(self._document.extensions)
        for name, namespaces in self._document.seed.records.items():
            path: NodePath = (*_ROOT, "records", name)
            if name not in known:
                self._target(
                    f"seed records of {name}: the spec has no extension of that name",
                    suggestion(name, known, "add it under `extensions`"),
                    self._map.key(path),
                )
                continue
            found = {
                namespace: self._values(written, (*path, namespace))
                for namespace, written in namespaces.items()
            }
            yield RecordSeed(name, found, self._map.key(path))

    def _values(self, written: str | dict[str, Json], path: NodePath) -> Mapping[str, Json]:
        if isinstance(written, str):
            return self._from_file(written, self._map.value(path))
        for key, value in written.items():
            self._check(key, value, self._map.key((*path, key)))
        return written

    def _from_file(self, text: str, where: Where) -> Mapping[str, Json]:
        path = self._paths.absolute(text, where)
        if not is_file(path):
            self._missing(text, "there is no such file", where)
            return {}
        file = _named(text, where)
        try:
            content = self._diagnostics.read(Path(path)).decode()
            found = load(content).value
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._missing(text, reason, where)
            return {}
        except JsonError as error:
            fault = error.fault
            self._record(f"read it: {fault.what}", fault.hint, _place(file, content, fault.offset))
            return {}
        if not isinstance(found, dict):
            hint = 'write an object such as {"key": …}'
            self._record("take the records: they are no JSON object", hint, Where(file, 1, 1))
            return {}
        positions = JsonPositions.of(content)
        for repeated, offset in positions.repeated:
            if len(repeated) == 1:
                what = f"use the key {repeated[0]} twice"
                self._record(what, "delete one of them", _place(file, content, offset))
        for key, value in found.items():
            offset = positions.keys.get((key,), 0)
            self._check(key, value, _place(file, content, offset))
        return found

    def _check(self, key: str, value: Json, where: Where) -> None:
        from algaenv.gateway.apis.storage.requests import MAX_VALUE_BYTES
        from algaenv.gateway.javascript import dump_json

        if not 1 <= len(key) <= 256 or "/" in key:
            self._record(
                f"use {key or 'an empty text'} as the key of a record: it has 1 to 256 characters,"
                " and no slash among them",
                "choose another key",
                where,
            )
        elif len(dump_json(value)) > MAX_VALUE_BYTES:
            self._record(
                f"store the record {key}: its value is larger than {MAX_VALUE_BYTES >> 10} KiB",
                "write several records in place of one",
                where,
            )

    def _missing(self, text: str, reason: str, where: Where) -> None:
        self._diagnostics.add_error(
            "spec-seed-missing", f"seed from {text}: {reason}", "correct the path", where
        )

    def _twice(self, what: str, reason: str, where: Where) -> None:
        self._diagnostics.add_error(
            "spec-seed-twice", f"{what}: {reason}", "delete one of them", where
        )

    def _target(self, summary: str, hint: str, where: Where) -> None:
        self._diagnostics.add_error("spec-seed-target", summary, hint, where)

    def _record(self, summary: str, hint: str, where: Where) -> None:
        self._diagnostics.add_error("spec-seed-record", summary, hint, where)


def _holds_reserved(source: str) -> bool:
    return any(is_directory(f"{source}/{it}") for it in _RESERVED)


def _overlap(one: str, other: str) -> bool:
    """Whether keys below one prefix may be below the other."""
    return one.startswith(other) or other.startswith(one)


def _named(text: str, where: Where) -> str:
    """The path of a file as problems name it: beside the spec that names it."""
    return os.path.normpath(Path(where.file).parent / text)


def _place(file: str, content: str, offset: int) -> Where:
    line = content.count("\n", 0, offset) + 1
    return Where(file, line, offset - (content.rfind("\n", 0, offset) + 1) + 1)
