from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from algaenv.runner.wasm.engine_config import CompileTier
from algaenv.runner.wasm.guest import GuestLoader
from tests.guests import ToolMissing, built

from .stage import MEMORY, ComponentCompiler, invocation, request, table

Script = Callable[..., Any]


@pytest.fixture(scope="session")
def compiler(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ComponentCompiler:
    """Compiles with optimisation; a test may ask for another tier."""
    tier = getattr(request, "param", CompileTier.OPTIMISED)
    return ComponentCompiler(tmp_path_factory.mktemp("compiled"), tier)


@pytest.fixture
def make() -> Iterator[Callable[..., GuestLoader]]:
    """Make engines with the host functions given."""
    made: list[GuestLoader] = []

    def make(threads: int = 4, *, pooled: bool = True, **functions: Any) -> GuestLoader:
        made.append(GuestLoader(table(**functions), threads, pooled=pooled))
        return made[-1]

    yield make
    for guests in made:
        guests.close()


@pytest.fixture(scope="session")
def script_bytes() -> bytes:
    try:
        return built("script").read_bytes()
    except ToolMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def script(
    make: Callable[..., GuestLoader], compiler: ComponentCompiler, script_bytes: bytes
) -> Script:
    """Run a script in the Rust guest, with the host functions given; return its results."""

    def run(*calls: Any, body: Any = None, call: Any = None, **functions: Any) -> Any:
        guest = compiler.load(make(**functions), script_bytes)
        asked = body if body is not None else {
            "calls": [{"fn": name, "args": list(args)} for name, *args in calls]
        }  # fmt: skip
        answer = guest.call(
            call or invocation(), request(json.dumps(asked).encode()), memory_bytes=MEMORY
        )
        return json.loads(answer["body"])["results"] if answer["body"] else answer

    return run
