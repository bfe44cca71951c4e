"""`compare` between two environments whose gateways differ by one fault of the product's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.schemas import check
from tests.scenario.project import Project
from tests.scenario.test_handlers import script

ENDPOINTS = [{"method": method, "path": "/run", "handler": "handler"} for method in ("GET", "POST")]
FAULT = "clients-search"


def up(project: Project, *fixed: str) -> str:
    """Bring it up with a handler that does what it is told; the address of its gateway."""
    built = project.root / "hello" / "dist" / "main.wasm"
    built.parent.mkdir(parents=True)
    built.write_bytes(script())
    project.extension(
        runtime="wasm-js@1", capabilities=["cap:client.read"], api={"endpoints": ENDPOINTS}
    )
    project.spec["gateway"] = {"port": project.ports["gateway"], "faults": list(fixed)}
    project.write()
    project.up().ok()
    services = project.status()["services"]
    return str(next(it for it in services if it["name"] == "gateway")["endpoints"]["url"])


def clients(search: str | None) -> dict[str, Any]:
    """A call that lists clients."""
    fields = {"search": search, "include_inactive": None, "page": None, "page_size": None}
    body = {"calls": [{"fn": "clients.list-clients", "args": [fields]}]}
    return {"path": "/run", "body": body}


@pytest.mark.slow
def test_one_fault_is_found(make_project: Callable[..., Project], tmp_path: Path) -> None:
    here, there = make_project("process"), make_project("process")
    up(here)
    line = ("compare", "hello", "--with", up(there, FAULT))

    declared = here.text(*line)
    assert declared.returncode == 0, declared.stdout + declared.stderr
    assert declared.stdout.startswith("same  GET /run  200")
    assert "POST /run: its method may change something" in declared.stdout
    recorded = here.text(*line, "--recorded")
    assert recorded.returncode == 0, recorded.stdout + recorded.stderr
    assert "1 call: 1 the same, 0 differ. " in recorded.stdout

    calls = tmp_path / "calls.json"
    calls.write_text(json.dumps([clients(None), clients("example")]))
    done = here.text(*line, "--calls", str(calls), "--json")
    assert done.returncode == 2, done.stdout + done.stderr
    document = json.loads(done.stdout)
    check("compare", document)
    assert (document["same"], document["different"]) == (1, 1)
    all_of_them, found = document["calls"]
    assert all_of_them["differences"] == []
    differing = {each["at"]: each for each in found["differences"]}
    assert differing["/results/0/err"] == {
        "what": "body", "at": "/results/0/err", "here": "internal"
    }  # fmt: skip
    assert "there" in differing["/results/0/ok"]
    ignoring = (*line, "--calls", str(calls), "--ignore", "body:/results/*")
    assert here.text(*ignoring).returncode == 0
    assert there.text("down").returncode == 0
    gone = here.text(*line, "--calls", str(calls))
    assert (gone.returncode, gone.stdout) == (6, "")
    assert f"cannot reach the gateway at {line[-1]}" in gone.stderr
