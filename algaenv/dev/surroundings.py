"""What the loop needs of the outside: the spec, open pages, the services, and what answers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from algaenv.dependencies import Request
from algaenv.dev.events import APPLIED, FAILED, DevEvent, ExtensionTurn, TurnEnded
from algaenv.dev.gateway_feed import GatewayFeed
from algaenv.dev.services import ServiceMonitor, addresses_of
from algaenv.dev.watcher import Targets
from algaenv.drivers.build.watched import watched_paths
from algaenv.drivers.probe_http import HttpClient
from algaenv.drivers.state import state_dir
from algaenv.model.intent import ExtensionIntent, Intent
from algaenv.model.lock import Lock, Ports
from algaenv.model.status import ExtensionStatus, Status

if TYPE_CHECKING:
    from algaenv.drivers.dev_channel import DevChannel, State, Turn

_ANSWER_SECONDS: Final = 5.0


class RealSurroundings:
    """Implements Surroundings. `show` gets every event; `gone` the services that went away."""

    def __init__(
        self,
        request: Request,
        show: Callable[[DevEvent], None],
        gone: Callable[[tuple[str, ...]], None],
        feed: GatewayFeed | None = None,
    ) -> None:
        self._request = request
        self._show = show
        self._monitor = ServiceMonitor(gone)
        self._feed = feed
        self._client = HttpClient()
        self._pages = OpenPages()
        self._extensions: dict[str, ExtensionIntent] = {}
        self._intent: Intent | None = None
        self._installed: dict[str, ExtensionStatus] = {}

    def targets(self) -> Targets:
        """Raises SpecError. The files of the spec are those that were read or missing."""
        from algaenv.spec.cache import load_cached

        spec = self._request.spec
        cache = state_dir.identify(spec, "").home / "cache"
        loaded = load_cached(spec, self._request.environ, cache)
        wanted = self._request.extensions
        self._intent = loaded.intent
        self._extensions = {
            it.name: it for it in loaded.intent.extensions if not wanted or it.name in wanted
        }
        watched = {name: watched_paths(it) for name, it in self._extensions.items()}
        return Targets(watched, tuple(dict.fromkeys(map(str, (spec, *loaded.files)))))

    def emit(self, event: DevEvent) -> None:
        """Show it."""
        self._show(event)

    def building(self, names: Sequence[str]) -> None:
        """Marks the pages of these extensions."""
        for name in names:
            if name in self._installed:
                self._pages.report(self._turn(name, "building"))

    def ended(self, turn: TurnEnded, changed: Iterable[str], status: Status | None) -> None:
        """To the gateway; a successful turn names the services to watch from now on."""
        if status is not None:
            self._follow(status)
        changed = tuple(changed)
        for it in turn.extensions:
            if it.name in self._installed:
                self._pages.report(self._ended(it, changed))

    def _follow(self, status: Status) -> None:
        self._installed = {it.name: it for it in status.extensions}
        self._monitor.watch(addresses_of(status))
        gateway = next((it for it in status.services if it.name == "gateway"), None)
        url = gateway.endpoints.get("url", "") if gateway else ""
        if url and self._intent is not None:
            self._pages.connect(url, lambda: self._channel(url))
        if self._feed is not None and url:
            self._feed.follow(url, [it.registry_id for it in status.extensions])

    def _channel(self, url: str) -> DevChannel | None:
        from algaenv.drivers.dev_channel import DevChannel, gateway_token
        from algaenv.drivers.state.settings import existing_secrets

        intent = self._intent
        environment = state_dir.identify(self._request.spec, "")
        credentials = existing_secrets(environment, intent) if intent else None
        if intent is None or credentials is None:
            return None
        lock = Lock(environment, intent, Ports(0, 0, 0, 0, 0, 0), credentials, ())
        return DevChannel(url, gateway_token(lock))

    def _ended(self, turn: ExtensionTurn, changed: tuple[str, ...]) -> Turn:
        state: State = {APPLIED: "applied", FAILED: "failed"}.get(turn.state, "idle")  # type: ignore[assignment]
        from algaenv.bundle.value import replace

        source = os.path.realpath(self._extensions[turn.name].source)
        paths = tuple(os.path.relpath(it, source) for it in changed)
        return replace(
            self._turn(turn.name, state),
            runs_from=turn.runs_from,
            changed=paths or None,
            problems=turn.problems,
            seconds=turn.seconds,
            stages=turn.stages,
        )

    def _turn(self, name: str, state: State) -> Turn:
        from algaenv.bundle.digest import Digest
        from algaenv.drivers.dev_channel import Turn

        extension = self._installed[name]
        hashed = extension.content_hash.rpartition(":")[2]
        return Turn(extension.registry_id, state, digest=Digest(hashed) if hashed else None)

    def answer(self, name: str, status: Status) -> str:
        """`GET /notes 200 (3 ms)` of its first probe, or `page 200`."""
        extension = next((it for it in status.extensions if it.name == name), None)
        if extension is None or not extension.ready:
            return ""
        probes = self._extensions[name].probes if name in self._extensions else ()
        if not (probes and extension.call_url):
            return "page 200" if extension.page_url else ""
        return self._ask(extension.call_url.rstrip("/"), probes[0].path)

    def _ask(self, base: str, path: str) -> str:
        from http.client import HTTPException

        started = time.perf_counter()
        try:
            reply = self._client.probe(base + path, _ANSWER_SECONDS)
        except (OSError, HTTPException) as error:
            return f"GET {path}: {type(error).__name__}"
        taken = round((time.perf_counter() - started) * 1000)
        return f"GET {path} {reply.status} ({taken} ms)"

    def close(self) -> None:
        """Watch no service any more, and tell open pages that turns have ended."""
        self._monitor.stop()
        self._pages.close()
        if self._feed is not None:
            self._feed.stop()


class OpenPages:
    """Reports to the gateway from a thread of its own: a turn never waits for a report."""

    def __init__(self) -> None:
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="open pages")
        self._channel: DevChannel | None = None
        self._url = ""
        self._stop = threading.Event()

    def connect(self, url: str, make: Callable[[], DevChannel | None]) -> None:
        """Report to the gateway at this URL from now on; `make` opens nothing yet."""
        if url == self._url:
            return
        if not self._url:
            threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        self._url = url
        self._channel = make()

    def report(self, turn: Turn) -> None:
        """Report in the background; nothing without a gateway."""
        channel = self._channel
        if channel is not None:
            self._sender.submit(channel.turn, turn)

    def close(self) -> None:
        """Report the end, and wait for that."""
        self._stop.set()
        if self._channel is not None:
            self._sender.submit(self._channel.ended)
        self._sender.shutdown(wait=True, cancel_futures=False)

    def _beat(self) -> None:
        from algaenv.drivers.dev_channel import HEARTBEAT_SECONDS

        while not self._stop.wait(HEARTBEAT_SECONDS):
            channel = self._channel
            if channel is not None:
                channel.alive()


def display_path(path: str) -> str:
    """A path as short as it can be from the current directory."""
    return path.removeprefix(f"{Path.cwd()}/")
