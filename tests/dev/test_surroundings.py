"""What the loop remembers of what is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import pytest

from algaenv.bundle.value import replace
from algaenv.dependencies import Request
from algaenv.dev.events import TurnEnded
from algaenv.dev.gateway_feed import GatewayFeed
from algaenv.dev.surroundings import RealSurroundings
from algaenv.drivers.probe_http import ProbeClient
from algaenv.drivers.state.settings import choose_secrets
from algaenv.drivers.state.state_dir import identify
from algaenv.model.isolated import isolated_spec
from algaenv.model.status import ServiceStatus
from algaenv.spec.cache import load_cached
from tests.cli.fake_application import status


def test_the_runner_is_sent_a_large_component_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/manifest.json").write_text(
        '{"name": "com.example.one", "publisher": "P", "version": "1", "runtime": "x"}'
    )
    spec = tmp_path / "algaenv.yaml"
    spec.write_text("version: 1\nname: demo\nextensions: {one: {source: ./one}}\n")
    surroundings = RealSurroundings(Request(spec, {}), lambda _: None, lambda _: None)
    surroundings.targets()
    environment = identify(spec, "")
    choose_secrets(environment, load_cached(spec, {}, environment.home / "cache").intent)
    sent: SimpleQueue[tuple[str, bytes, str]] = SimpleQueue()

    def probe(
        _: ProbeClient, url: str, _seconds: float, document: bytes, headers: dict[str, str]
    ) -> None:
        sent.put((url, document, headers["Content-Type"]))

    monkeypatch.setattr(ProbeClient, "probe", probe)
    component = tmp_path / "main.wasm"
    component.write_bytes(bytes(2 << 20))
    runner = ServiceStatus("runner", "ready", {"url": "http://127.0.0.1:9"})
    seen = replace(status(spec), services=(runner,))
    try:
        surroundings.compile_early(component)  # No runner is known yet.
        surroundings.ended(TurnEnded(0, 0.1, status=seen), (), seen)
        for content in (bytes(2 << 20) + b"1", None, bytes(2 << 20) + b"22", b"small"):
            if content is not None:
                component.write_bytes(content)
            surroundings.compile_early(component)
        found = [sent.get(timeout=10) for _ in range(2)]
    finally:
        surroundings.close()
    assert {(url, kind) for url, _, kind in found} == {
        ("http://127.0.0.1:9/warmup", "application/wasm")
    }
    assert sent.empty()


def test_a_turn_about_one_extension_forgets_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[list[str]] = []

    def follow(_: GatewayFeed, url: str, registry_ids: Sequence[str]) -> None:
        followed.append(list(registry_ids))

    monkeypatch.setattr(GatewayFeed, "follow", follow)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        manifest = '{"name": "com.example.%s", "publisher": "P", "version": "1", "runtime": "x"}'
        (tmp_path / name / "manifest.json").write_text(manifest % name)
    spec = tmp_path / "algaenv.yaml"
    spec.write_text(
        "version: 1\nname: demo\nextensions: {one: {source: ./one}, two: {source: ./two}}\n"
    )
    surroundings = RealSurroundings(Request(spec, {}), lambda _: None, lambda _: None)
    surroundings.targets()
    (found, *_) = status(spec).extensions
    one, two = (
        replace(found, name=name, registry_id=f"registry of {name}") for name in ("one", "two")
    )
    gateway = ServiceStatus("gateway", "ready", {"url": "http://127.0.0.1:9"})
    whole = replace(status(spec), services=(gateway,), extensions=(one, two))
    try:
        surroundings.ended(TurnEnded(0, 0.1, status=whole), (), whole)
        limited = replace(whole, extensions=(replace(two, registry_id="another"),))
        surroundings.ended(TurnEnded(1, 0.1, status=limited), (), limited)
        # One that the spec does not have any more is forgotten.
        spec.write_text("version: 1\nname: demo\nextensions: {two: {source: ./two}}\n")
        surroundings.targets()
        surroundings.ended(TurnEnded(2, 0.1, status=limited), (), limited)
    finally:
        surroundings.close()
    assert followed == [
        ["registry of one", "registry of two"],
        ["registry of one", "another"],
        ["another"],
    ]


def test_fragments_and_the_inputs_of_tasks_are_watched_like_the_spec(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    fragment = tmp_path / "part" / "algaenv.fragment.yaml"
    fragment.write_text(
        "tasks:\n  seed: {run: x, inputs: ['*.sql']}\n"
        "  other: {run: x, profiles: [p], inputs: ['*']}\n"
    )
    for name in ("a.sql", "b.txt"):
        (tmp_path / "part" / name).touch()
    spec = tmp_path / "algaenv.yaml"
    spec.write_text("name: demo\ninclude: ./part\n")
    for path in (spec, isolated_spec(spec, "feature")):
        surroundings = RealSurroundings(Request(path, {}), lambda _: None, lambda _: None)
        try:
            watched = surroundings.targets().spec_files
        finally:
            surroundings.close()
        assert {str(spec), str(fragment), str(tmp_path / "part/a.sql")} <= set(watched)
        assert str(tmp_path / "part/b.txt") not in watched
