"""The samples that are shipped: they pass our own checks, build, and do what their pages say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wasmtime.component import Variant

from algaenv.bundle.collect import collect
from algaenv.bundle.manifest import capabilities

from . import built
from .host import call, record
from .recipe import WIT
from .recipes import NOT_SOURCES, SAMPLES

NAMES = ("capabilities", "notes")
"""Those with a componentizer of their own."""
ALL = tuple(sorted(it.parent.name for it in SAMPLES.glob("*/algaenv.yaml")))
USER = record(
    tenant_id="t1",
    client_name="",
    user_id="u1",
    user_email="ada@example.com",
    user_name="Ada",
    user_type="internal",
)


@pytest.fixture(params=NAMES)
def sample(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def assembled(sample: str, tmp_path: Path) -> Path:
    """The directory of a sample after its build."""
    made = tmp_path / sample
    shutil.copytree(SAMPLES / sample, made, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    (made / "dist").mkdir()
    shutil.copy(built(f"sample-{sample}"), made / "dist/main.wasm")
    return made


def test_a_sample_has_nothing_to_complain_of(sample: str, assembled: Path) -> None:
    tree = collect(assembled)
    assert tree.warnings == ()
    page = {"ui/app.js", "ui/bridge.js", "ui/index.html", "ui/style.css"}
    expected = {"dist/main.wasm", "manifest.json", "wit/extension-runner.wit"}
    assert {entry.path for entry in tree.entries} == expected | (
        page if sample == "notes" else set()
    )


@pytest.mark.parametrize("sample", ALL)
def test_a_sample_is_a_spec_that_is_valid(sample: str) -> None:
    command = [sys.executable, "-m", "algaenv", "validate", "-f", str(SAMPLES / sample)]
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (output.returncode, output.stderr) == (0, "")


def test_a_sample_is_built_against_the_world(sample: str) -> None:
    assert (SAMPLES / sample / "wit" / WIT.name).read_bytes() == WIT.read_bytes()


def test_samples_that_share_a_file_share_all_of_it() -> None:
    for file in ("src/answer.ts", "tsconfig.json", ".gitignore"):
        assert len({(SAMPLES / name / file).read_bytes() for name in NAMES}) == 1


@pytest.mark.parametrize("sample", [it for it in ALL if it != "hours"])
def test_a_sample_pins_its_tools(sample: str) -> None:
    lock = json.loads((SAMPLES / sample / "package-lock.json").read_text())
    found = list((SAMPLES / sample).glob("**/package.json"))
    for file in (it for it in found if "node_modules" not in it.parts):
        below = str(file.parent.relative_to(SAMPLES / sample)).removeprefix(".")
        project, locked = json.loads(file.read_text()), lock["packages"][below]
        for kind in ("dependencies", "devDependencies"):
            assert locked.get(kind) == project.get(kind)
            versions = (project.get(kind) or {}).items()
            assert all(it[0].isdigit() for name, it in versions if not name.startswith("@acme/"))


@pytest.mark.parametrize("sample", ALL)
def test_a_sample_is_listed(sample: str) -> None:
    assert f"({sample}/README.md)" in (SAMPLES / "README.md").read_text()
    assert (SAMPLES / sample / "README.md").is_file()


def test_the_capabilities_sample_asks_for_all_of_them() -> None:
    manifest = collect_manifest("capabilities")
    assert set(manifest["capabilities"]) == set(capabilities.KNOWN)


def collect_manifest(name: str) -> Any:
    return json.loads((SAMPLES / name / "manifest.json").read_text())


def asked(name: str, method: str, url: str, replies: Any, body: bytes | None = None) -> Any:
    answer = call(built(f"sample-{name}"), method=method, url=url, body=body, replies=replies)
    assert answer.headers == (("content-type", "application/json"),)
    assert answer.body is not None
    return answer.status, json.loads(answer.body)


class Host:
    """A host of a few functions that remembers which were called."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.stored: dict[str, tuple[bytes, int]] = {}
        self.conflicts = 0
        self.replies = {name: self._noting(name, reply) for name, reply in self._all().items()}

    def _noting(self, name: str, reply: Callable[..., Any]) -> Callable[..., Any]:
        def noted(store: object, *args: Any) -> Any:
            self.called.append(name)
            return reply(*args)

        return noted

    def _all(self) -> dict[str, Callable[..., Any]]:
        page = record(items=[], total_count=0, page=1, page_size=5)
        made = record(success=True, schedule_id="s1", error=None, field_errors=None)
        context = record(
            request_id="r1", tenant_id="t1", extension_id="e1", install_id=None, version_id=None
        )
        names = ("id", "number", "status", "subtotal", "tax", "total")
        invoice = dict.fromkeys(
            name if name in {"status", "subtotal", "tax", "total"} else f"invoice_{name}"
            for name in names
        )
        return {
            "context.get-context": lambda: context,
            "logging.log-info": lambda message: None,
            "logging.log-warn": lambda message: None,
            "logging.log-error": lambda message: None,
            "user.get-user": lambda: USER,
            "user-v2.get-user": lambda: "not-available",
            "secrets.list-keys": lambda: ["API_TOKEN"],
            "secrets.get": lambda key: Variant("ok", "a secret word"),
            "http.fetch": self._fetched,
            "ui-proxy.call-route": lambda route, payload: route.encode(),
            "storage.get": self._get,
            "storage.put": self._put,
            "storage.delete": lambda namespace, key: self.stored.pop(key) and None,
            "storage.list-entries": lambda namespace, cursor: [],
            "scheduler.get-endpoints": lambda: [],
            "scheduler.list-schedules": lambda: "denied",
            "scheduler.create-schedule": lambda wanted: made,
            "scheduler.get-schedule": lambda key: None,
            "scheduler.update-schedule": lambda key, wanted: record(
                success=True, error=None, field_errors=None
            ),
            "scheduler.delete-schedule": lambda key: record(success=True, error=None),
            "invoicing.create-manual-invoice": lambda wanted: record(
                success=False,
                error=f"for {getattr(wanted, 'client-id')}",
                field_errors=None,
                **invoice,
            ),
            "clients.list-clients": lambda wanted: page,
            "services.list-services": lambda wanted: page,
        }

    def _fetched(self, request: Any) -> Any:
        header = record(name="content-type", value=request.url)
        return record(status=418, headers=[header], body=b"12345")

    def _get(self, namespace: str, key: str) -> Any:
        if key not in self.stored:
            return "missing"
        value, revision = self.stored[key]
        return record(namespace=namespace, key=key, value=value, revision=revision)

    def _put(self, entry: Any) -> Any:
        current = self.stored[entry.key][1] if entry.key in self.stored else None
        if self.conflicts:
            self.conflicts -= 1
            return "conflict"
        if entry.revision != current:
            return "conflict"
        self.stored[entry.key] = (entry.value, (current or 0) + 1)
        return self._get(entry.namespace, entry.key)


@pytest.mark.slow
def test_the_report_has_what_every_capability_gave() -> None:
    host = Host()
    status, report = asked("capabilities", "GET", "/report?url=http%3A%2F%2Fx%2F+y", host.replies)
    assert status == 200
    assert set(report) == set(capabilities.KNOWN) - {"cap:invoice.manual.create"}
    assert report["cap:http.fetch"]["fetch"] == {
        "ok": {"status": 418, "type": "http://x/ y", "bytes": 5}
    }
    assert report["cap:secrets.get"]["get API_TOKEN"] == {"ok": "13 characters"}
    assert report["cap:ui.proxy"]["call-route"] == {"ok": "/ping"}
    assert report["cap:user.read"]["user-v2.get-user"] == {"error": "not-available"}
    assert report["cap:storage.kv"]["get"] == {"error": "missing"}
    assert not {"storage.put", "scheduler.create-schedule"} & set(host.called)


@pytest.mark.slow
def test_a_report_that_may_write_uses_every_interface() -> None:
    host = Host()
    order = b'{"client_id": "c1", "service_id": "s1"}'
    status, report = asked("capabilities", "POST", "/report", host.replies, order)
    assert status == 200
    assert set(report) == set(capabilities.KNOWN)
    invoice = report["cap:invoice.manual.create"]["create-manual-invoice"]
    assert invoice["ok"]["error"] == "for c1"
    assert report["cap:storage.kv"]["put"]["ok"]["revision"] == 1
    assert host.stored == {}
    assert set(host.called) == set(host.replies)


@pytest.mark.slow
def test_the_report_is_there_and_nothing_else_is() -> None:
    replies = Host().replies
    assert asked("capabilities", "GET", "/", replies)[0] == 404
    assert asked("capabilities", "PUT", "/report", replies)[0] == 405
    assert asked("capabilities", "POST", "/report", replies, b"{")[0] == 400


def note(text: str) -> bytes:
    return json.dumps({"text": text, "at": "2026-01-02T03:04:05Z"}).encode()


def test_notes_are_added_listed_and_removed() -> None:
    host = Host()
    assert asked("notes", "GET", "/notes", host.replies) == (200, [])
    status, notes = asked("notes", "POST", "/notes", host.replies, note(" Größe "))
    expected = {"id": "r1", "text": "Größe", "at": "2026-01-02T03:04:05Z", "author": "Ada"}
    assert (status, notes) == (201, [expected])
    assert asked("notes", "GET", "/notes?x=y", host.replies) == (200, [expected])
    assert asked("notes", "DELETE", "/notes/other", host.replies) == (200, [expected])
    assert asked("notes", "DELETE", "/notes/r1", host.replies) == (200, [])


def test_a_note_that_another_call_overtook_is_added_all_the_same() -> None:
    host = Host()
    host.conflicts = 2
    assert asked("notes", "POST", "/notes", host.replies, note("a"))[0] == 201
    host.conflicts = 99
    status, details = asked("notes", "POST", "/notes", host.replies, note("b"))
    assert (status, details) == (502, {"error": "the notes are out of reach: conflict"})


@pytest.mark.slow
def test_notes_never_outgrow_what_can_be_stored() -> None:
    host = Host()
    for index in range(22):
        status, notes = asked(
            "notes", "POST", "/notes", host.replies, note(f"{index} {'é' * 1900}")
        )
        assert status == 201
        assert notes[0]["text"].startswith(f"{index} ")
    assert 10 < len(notes) < 22
    assert len(host.stored["all"][0]) <= 64 * 1024


@pytest.mark.parametrize(
    "body", [None, b"", b"[]", b"{", note("  "), note("x" * 2001), b'{"text":1}']
)
def test_what_is_no_note_is_refused(body: bytes | None) -> None:
    assert asked("notes", "POST", "/notes", Host().replies, body)[0] == 400


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_notes_answer_what_the_manifest_declares(method: str) -> None:
    declared = collect_manifest("notes")["api"]["endpoints"]
    paths = [it["path"].replace(":id", "x") for it in declared if it["method"] == method]
    assert paths
    for path in paths:
        assert asked("notes", method, path, Host().replies, note("a"))[0] in {200, 201}
    assert asked("notes", method, "/other", Host().replies)[0] == 404
