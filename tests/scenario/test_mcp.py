"""An agent works on an environment that is up, through `algaenv mcp`."""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio
from mcp import Client, StdioServerParameters

from tests.cli.schemas import check
from tests.scenario.conftest import docker_slow
from tests.scenario.project import Project, page


@docker_slow("running")
def test_an_agent_changes_an_extension_and_looks_at_it(running: Project) -> None:
    project = running
    secrets = [it for name, it in project.secrets().items() if "PASSWORD" in name]
    assert secrets
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "algaenv", "mcp", "--allow-writes", "-f", str(project.file)],
        env=project.environment(),
        cwd=project.root,
    )
    told: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    async def use(client: Client) -> list[Any]:
        before = await client.call_tool("status", {})
        assert not before.is_error
        check("status", before.structured_content)
        project.extension(html="<h1>by an agent</h1>", version="0.3.0")
        planned = await client.call_tool("plan", {})
        check("plan", planned.structured_content)
        assert planned.structured_content["changes"] == 2
        done = await client.call_tool("up", {"extensions": ["hello"]}, progress_callback=note)
        assert not done.is_error
        check("events", done.structured_content)
        assert done.structured_content["changed"] == 2
        logged = await client.call_tool("logs", {"names": ["database", "redis"], "tail": 5})
        assert not logged.is_error
        drift = await client.call_tool("drift", {})
        assert drift.structured_content["drifted"] == []
        return [before, planned, done, logged, drift]

    async def within() -> list[Any]:
        with anyio.fail_after(120):
            async with Client(server) as client:
                return await use(client)

    results = anyio.run(within)
    shown = json.dumps([it.model_dump(mode="json") for it in results])
    assert not any(secret in shown for secret in secrets)
    assert any(it.startswith("update release/hello: ") for it in told), told
    assert project.page() == page("<h1>by an agent</h1>")
