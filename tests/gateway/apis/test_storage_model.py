"""Storage against a model of it: whatever is asked in whatever order, a dict would have said so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.gateway.seed import Extension

from .conftest import Api, Gateways

NAMESPACES = st.sampled_from(("one", "two", "ü 2"))
KEYS = st.one_of(
    st.sampled_from(("a", "b", "A", "a%", "a_b", "\\", "é", "𝄞")),
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8),
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
METADATA = st.dictionaries(TEXTS, VALUES, max_size=2)


class Records(RuleBasedStateMachine):
    """Puts, gets, deletes and lists, with the right and with wrong revisions."""

    gateways: Gateways
    extension: Extension
    known = Bundle("known")

    @initialize()
    def empty(self) -> None:
        for table in ("ext_storage_records", "ext_storage_usage"):
            self.gateways.database.sql(
                f"DELETE FROM {table} WHERE extension_install_id = %s", self.extension.install
            )
        self.storage = Api(self.gateways.fixed, "storage", self.extension.install)
        self.kept: dict[tuple[str, str], tuple[int, Any, Any]] = {}

    @rule(target=known, namespace=NAMESPACES, key=KEYS, value=VALUES, metadata=METADATA)
    def put(self, namespace: str, key: str, value: Any, metadata: Any) -> tuple[str, str]:
        answer = self.storage.ok(
            "put", namespace=namespace, key=key, value=value, metadata=metadata
        )
        revision = self.kept.get((namespace, key), (0,))[0] + 1
        assert answer["revision"] == revision
        self.kept[namespace, key] = revision, value, metadata
        return namespace, key

    @rule(at=known, value=VALUES, off=st.integers(-1, 2))
    def put_if(self, at: tuple[str, str], value: Any, off: int) -> None:
        revision = self.kept.get(at, (0,))[0]
        fields = {"namespace": at[0], "key": at[1], "value": value, "ifRevision": revision + off}
        answer = self.storage({"operation": "put", **fields})
        if revision + off < 0:
            assert answer.status == 400
        elif off or at not in self.kept:
            assert answer.status == 409
        else:
            assert answer.json["revision"] == revision + 1
            self.kept[at] = revision + 1, value, {}

    @rule(
        target=known,
        namespace=NAMESPACES,
        items=st.dictionaries(KEYS, VALUES, min_size=1, max_size=5),
    )
    def bulk_put(self, namespace: str, items: dict[str, Any]) -> Any:
        fields = [{"key": key, "value": value} for key, value in items.items()]
        answer = self.storage.ok("bulkPut", namespace=namespace, items=fields)
        assert [it["key"] for it in answer["items"]] == list(items)
        for made in answer["items"]:
            at = namespace, made["key"]
            revision = self.kept.get(at, (0,))[0] + 1
            assert made["revision"] == revision
            self.kept[at] = revision, items[made["key"]], {}
        return multiple(*((namespace, key) for key in items))

    @rule(at=known | st.tuples(NAMESPACES, KEYS))
    def get(self, at: tuple[str, str]) -> None:
        answer = self.storage({"operation": "get", "namespace": at[0], "key": at[1]})
        if at not in self.kept:
            assert answer.status == 404
            return
        found = answer.json
        assert (found["revision"], found["value"], found["metadata"]) == self.kept[at]

    @rule(at=consumes(known), right=st.booleans())
    def delete(self, at: tuple[str, str], right: bool) -> None:
        fields: dict[str, Any] = {"namespace": at[0], "key": at[1]}
        revision = self.kept.get(at, (0,))[0]
        if not right:
            fields["ifRevision"] = revision + 1
        answer = self.storage({"operation": "delete", **fields})
        if at in self.kept and not right:
            assert answer.status == 409
        else:
            assert answer.json == {"success": self.kept.pop(at, None) is not None}

    @rule(
        namespace=NAMESPACES, limit=st.integers(1, 4), prefix=st.sampled_from(("", "a", "a%", "\\"))
    )
    def list(self, namespace: str, limit: int, prefix: str) -> None:
        found: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.storage.ok(
                "list",
                namespace=namespace,
                limit=limit,
                keyPrefix=prefix,
                includeValues=True,
                **cursor,
            )
            found += [(it["key"], it["revision"], it["value"]) for it in page["items"]]
            if page["nextCursor"] is None:
                break
            assert len(page["items"]) == limit
            cursor = {"cursor": page["nextCursor"]}
        wanted = [
            (key, *kept[:2])
            for (where, key), kept in self.kept.items()
            if where == namespace and key.startswith(prefix)
        ]
        # The tests' database collates by code point.
        assert found == sorted(wanted, key=lambda it: it[0])

    @invariant()
    def usage_is_what_the_records_say(self) -> None:
        counted = self.gateways.database.sql(
            "SELECT u.bytes_used, u.keys_count, u.namespaces_count, sum(r.value_size_bytes"
            " + r.metadata_size_bytes), count(r.key), count(DISTINCT r.namespace)"
            " FROM ext_storage_usage u LEFT JOIN ext_storage_records r USING"
            " (tenant, extension_install_id) WHERE u.extension_install_id = %s GROUP BY 1, 2, 3",
            self.extension.install,
        )
        for row in counted:
            assert row[:3] == (row[3] or 0, *row[4:])
            assert row[1] == len(self.kept)


@pytest.mark.slow
def test_storage_is_like_a_dict(gateways: Gateways, extension: Extension) -> None:
    here = {"gateways": gateways, "extension": extension}
    machine = type("Records", (Records,), here)
    run_state_machine_as_test(
        machine,
        settings=settings(
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
