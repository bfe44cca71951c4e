"""Load from many connections, by wrk: it costs little itself on a machine it shares."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.command import Unmeasured

_SCRIPT: Final = """
local asked = {}
wrk.method = %(method)s
wrk.body = %(body)s
%(headers)s
good, busy = 0, 0
function setup(thread) table.insert(asked, thread) end
function response(status, headers, body)
  if %(good)s then good = good + 1 elseif status == 503 then busy = busy + 1 end
end
function done(summary, latency)
  local g, b = 0, 0
  for _, thread in ipairs(asked) do g = g + thread:get("good"); b = b + thread:get("busy") end
  local errors = summary.errors
  io.write(string.format(
    '{"seconds":%%f,"requests":%%d,"good":%%d,"busy":%%d,"broken":%%d,"p50":%%f,"p99":%%f,"max":%%f}\\n',
    summary.duration / 1e6, summary.requests, g, b,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, latency.max / 1e6))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it; `good` are answers as they should be, `busy` those of status 503."""

    seconds: float
    requests: int
    good: int
    busy: int
    broken: int
    p50: float
    p99: float
    max: float

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.good / self.seconds


def load(
    url: str,
    *,
    connections: int,
    seconds: float,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    good: str = "status == 200",
) -> Load:
    """Ask `url` over and over; `good` is a condition in Lua over status, headers and body."""
    program = shutil.which("wrk")
    if program is None:
        raise Unmeasured("wrk is not installed")
    given = "\n".join(
        f'wrk.headers["{name}"] = {_text(it)}' for name, it in (headers or {}).items()
    )
    script = _SCRIPT % {
        "method": _text("GET" if body is None else "POST"),
        "body": "nil" if body is None else _text(body.decode()),
        "headers": given,
        "good": good,
    }
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "load.lua")
        file.write_text(script)
        words = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
        done = subprocess.run(
            [program, *words, "-s", str(file), url], capture_output=True, text=True, check=False
        )
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not found:
        raise Unmeasured(f"wrk ended with {done.returncode}: {done.stderr or done.stdout}"[:400])
    return Load(**json.loads(found[-1]))


def _text(text: str) -> str:
    """A Lua string; none of ours holds this bracket."""
    return f"[==[{text}]==]"
