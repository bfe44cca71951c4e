"""Many calls of all kinds at once, on all workers: nobody gets what is another's.

`ALGAENV_STRESS_CALLS` sets how many (2,500 without it).
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import threading
from collections import Counter
from contextlib import closing
from typing import Any

import psutil
import pytest

from tests.guests import built
from tests.guests.native import put_native_code

from .archives import EXTENSION, TENANT, Bundle, bundle
from .conftest import Start
from .peers import Files
from .service import Service

CALLS = int(os.environ.get("ALGAENV_STRESS_CALLS", "2500"))
CLIENTS = 12
WARM = max(2_000, CALLS // 5)
"""Calls after which memory must have settled."""
SLACK = 24 << 20
KINDS = {"good": 88, "err": 6, "trap": 3, "exit": 2, "timeout": 1}


class Client:
    """Makes calls one after another, over one connection, and looks at each answer."""

    def __init__(self, service: Service, made: Bundle, seed: int) -> None:
        self._port, self._made = service.port, made
        self._random = random.Random(seed)
        self.wrong: list[str] = []
        self.seen: Counter[str] = Counter()

    def run(self, calls: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)) as link:
            for _ in range(calls):
                self._one(link)

    def _one(self, link: http.client.HTTPConnection) -> None:
        (kind,) = self._random.choices(list(KINDS), list(KINDS.values()))
        token = f"{self._random.getrandbits(64):016x}"
        script: dict[str, Any] = {
            "calls": [
                {"fn": "context.get-context", "args": []},
                {"fn": "secrets.get", "args": ["token"]},
                {"fn": "logging.log-info", "args": [token]},
                {"fn": "user.get-user", "args": []},
            ],
            "stderr": [token],
        }
        match kind:
            case "err":
                script["calls"].append({"fn": "services.get-service", "args": [token]})
            case "trap":
                script["then"] = "trap"
            case "exit":
                script["then"] = "exit"
            case "timeout":
                script["then"] = "loop"
        link.request(
            "POST",
            "/v1/execute",
            self._body(kind, token, script),
            {
                "content-type": "application/json",
                "x-alga-tenant": TENANT,
                "x-alga-extension": EXTENSION,
            },
        )
        answer = link.getresponse()
        content = answer.read()
        self.seen[kind] += 1
        if answer.status != 200 or not self._fits(kind, token, json.loads(content)):
            self.wrong.append(f"{kind} {token}: {answer.status} {content[:500]!r}")

    def _body(self, kind: str, token: str, script: object) -> bytes:
        envelope = base64.b64encode(json.dumps({"token": token}).encode()).decode()
        call = {
            "context": {
                "request_id": token,
                "tenant_id": f"t-{token}",
                "extension_id": EXTENSION,
                "install_id": "i",
                "content_hash": self._made.digest.prefixed,
            },
            "http": {
                "method": "POST",
                "path": "/",
                "body_b64": base64.b64encode(json.dumps(script).encode()).decode(),
            },
            "limits": {"timeout_ms": 60 if kind == "timeout" else 30_000},
            "providers": ["cap:secrets.get"],
            "secret_envelope": {"ciphertext_b64": envelope},
            "user": {
                "user_id": token,
                "user_email": "e",
                "user_name": "n",
                "user_type": "internal",
            },
        }
        return json.dumps(call).encode()

    def _fits(self, kind: str, token: str, said: Any) -> bool:
        if kind in {"trap", "exit", "timeout"}:
            failure = said["failure"]
            self.seen[f"{kind}, spoke"] += failure["stderr"] == [token]
            # On a busy machine the time of a call may be over before the guest has said a word.
            silent = kind == "timeout" and failure["stderr"] == []
            return bool(
                said["status"] == 500
                and failure["kind"] == kind
                and (failure["stderr"] == [token] or silent)
                and said["body_b64"] is None
            )
        results = json.loads(base64.b64decode(said["body_b64"]))["results"]
        mine = [
            results[0]["ok"]["request_id"] == token,
            results[0]["ok"]["tenant_id"] == f"t-{token}",
            results[1] == {"ok": token},
            results[3]["ok"]["user_id"] == token,
        ]
        if kind == "err":
            mine.append(results[4] == {"err": "not-allowed"})
        return said["error"] is None and said["status"] == 200 and all(mine)


def _memory(service: Service) -> int:
    workers = psutil.Process(service.process.pid).children()
    return max(worker.memory_info().rss for worker in workers)


def _load(service: Service, made: Bundle, calls: int, seed: int) -> Counter[str]:
    clients = [Client(service, made, seed + number) for number in range(CLIENTS)]
    threads = [threading.Thread(target=each.run, args=(calls // CLIENTS,)) for each in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrong = [line for each in clients for line in each.wrong]
    assert not wrong, f"{len(wrong)} wrong, the first: {wrong[0]}"
    return sum((each.seen for each in clients), Counter())


@pytest.mark.slow
def test_nobody_gets_what_is_anothers(start: Start, files: Files) -> None:
    made = bundle({"dist/main.wasm": built("script").read_bytes()})
    files.objects[made.key] = made.archive
    service = start(RUNNER_WORKERS="2", RUNNER_QUEUE="1000")
    put_native_code(service.cache_root, built("script"))
    _load(service, made, WARM, seed=1)
    pids = {worker.pid for worker in psutil.Process(service.process.pid).children()}
    assert len(pids) == 2
    before = _memory(service)
    seen = _load(service, made, CALLS, seed=1000)
    assert sum(seen[kind] for kind in KINDS) >= CALLS - CLIENTS
    assert all(seen[kind] for kind in KINDS)
    assert all(seen[f"{kind}, spoke"] for kind in ("trap", "exit", "timeout"))
    assert _memory(service) - before < SLACK
    # Nobody died on the way.
    assert pids == {worker.pid for worker in psutil.Process(service.process.pid).children()}
