"""What the loop needs of the outside: the spec, open pages, the services, and what answers."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from algaenv.dependencies import Request
from algaenv.dev.answers import AnswerSample, compare, record, safe_calls
from algaenv.dev.events import APPLIED, FAILED, DevEvent, ExtensionTurn, TurnEnded
from algaenv.dev.gateway_feed import GatewayFeed
from algaenv.dev.handlers import SourceHandlers
from algaenv.dev.services import ServiceMonitor, addresses_of
from algaenv.dev.watcher import Targets
from algaenv.drivers.build.bundle_builder import CachingBundleBuilder
from algaenv.drivers.build.watched import watched_paths
from algaenv.drivers.probe_http import ProbeClient
from algaenv.drivers.state import state_dir
from algaenv.drivers.tasks import inputs_of
from algaenv.model.intent import BundledImage, ExtensionIntent, Intent, with_named
from algaenv.model.lock import Lock, Ports
from algaenv.model.secret import Secret
from algaenv.model.status import ExtensionStatus, Status
from algaenv.plan.app_variables import inbound_token
from algaenv.reconcile.resolve import BundleBuilder
from algaenv.system import memory

if TYPE_CHECKING:
    from algaenv.drivers.dev_channel import DevChannel, State, Turn

KEPT_CALLS: Final = 200
_ANSWER_SECONDS: Final = 3.0
_WARM_SECONDS: Final = 300.0
_EARLY_BYTES: Final = 2 << 20
"""Smaller components are compiled in less time than it takes to send them twice."""


class RealSurroundings:
    """Implements Surroundings. `show` gets every event; `gone` the services that went away."""

    def __init__(
        self,
        request: Request,
        show: Callable[[DevEvent], None],
        gone: Callable[[tuple[str, ...]], None],
        handlers: SourceHandlers | None = None,
        show_gateway: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> None:
        self._request = request
        self._show = show
        self._monitor = ServiceMonitor(gone)
        self._handlers = handlers
        self._show_gateway = show_gateway
        self._feed = GatewayFeed(self._take_gateway)
        self._calls: deque[Mapping[str, Any]] = deque(maxlen=KEPT_CALLS)
        self._recordings: dict[str, AnswerSample] = {}
        self._building: set[str] = set()
        """Extensions whose pages were told that a turn began."""
        self._failed: dict[str, Turn] = {}
        self._addresses: dict[str, tuple[str, int]] = {}
        self._packed: tuple[str, ...] = ()
        """The extensions that the turn under way is about."""
        self._runner = ""
        """Its URL, as far as it is known."""
        self._sent: dict[Path, tuple[int, int, int]] = {}
        """Components that the runner was asked to compile, with their size, time and inode."""
        self._warmed = ""
        """The runner that was asked to compile the shell."""
        self._client = ProbeClient()
        self._pages = OpenPages()
        self._extensions: dict[str, ExtensionIntent] = {}
        self._intent: Intent | None = None
        self._installed: dict[str, ExtensionStatus] = {}

    def targets(self) -> Targets:
        """Raises SpecError. The files of the spec are those that were read or missing, and those of
        SQL that it seeds."""
        from algaenv.spec.cache import load_cached

        spec = self._request.spec
        cache = state_dir.identify(spec, "").home / "cache"
        loaded = load_cached(spec, self._request.environ, cache)
        wanted = self._request.extensions
        self._intent = with_named(loaded.intent, wanted)
        self._extensions = {
            it.name: it for it in self._intent.extensions if not wanted or it.name in wanted
        }
        if self._handlers is not None:
            self._handlers.follow(self._extensions.values())
        watched = {name: watched_paths(it) for name, it in self._extensions.items()}
        tasks = [it for it in self._intent.tasks if it.active] if not wanted else []
        # As with the spec, the turn after a change of these is about everything.
        read = (entry.full for task in tasks for entry in inputs_of(task))
        files = (spec, *loaded.files, *(it.path for it in loaded.intent.seed.sql), *read)
        return Targets(watched, tuple(dict.fromkeys(map(str, files))))

    def emit(self, event: DevEvent) -> None:
        """Show it."""
        self._show(event)

    def building(self, names: Sequence[str]) -> None:
        """Marks the pages of these extensions."""
        for name in names:
            if name in self._installed:
                self._building.add(name)
                self._pages.report(self._turn(name, "building"))

    def ended(self, turn: TurnEnded, changed: Iterable[str], status: Status | None) -> None:
        """To the gateway; a successful turn names the services to watch from now on."""
        if status is not None:
            self._follow(status)
        changed = tuple(changed)
        if self._handlers is not None:
            failed = {it.name for it in turn.extensions if it.state == FAILED}
            good = {it.name for it in turn.extensions if it.state != FAILED}
            if status is not None:
                # Also what is unchanged: a mistake may have been taken back.
                good |= {it for it in self._packed if it not in failed}
            self._handlers.settle(good)
            self._handlers.give_up(failed)
        ended = {it.name: it for it in turn.extensions if it.name in self._extensions}
        for name in dict.fromkeys((*self._building, *ended)):
            if name not in self._installed:
                continue
            if name in ended:
                told = self._ended(ended[name], changed)
                self._failed.pop(name, None)
                if told.state == "failed":
                    self._failed[name] = told
            else:
                # It was not about this one after all: what was wrong before still is.
                told = self._failed.get(name) or self._turn(name, "idle")
            self._pages.report(told)
        self._building.clear()
        if status is None and self._addresses and turn.retry_seconds is None:
            self._monitor.watch(self._addresses)
        memory.give_back()

    def _follow(self, status: Status) -> None:
        # The status of a turn about some extensions names no others.
        found = self._installed | {it.name: it for it in status.extensions}
        self._installed = {name: found[name] for name in self._extensions if name in found}
        self._addresses = addresses_of(status)
        self._monitor.watch(self._addresses)
        gateway = next((it for it in status.services if it.name == "gateway"), None)
        url = gateway.endpoints.get("url", "") if gateway else ""
        if url and self._intent is not None:
            self._pages.connect(url, self._token())
        runner = next((it for it in status.services if it.name == "runner"), None)
        self._runner = runner.endpoints.get("url", "") if runner else ""
        if self._handlers is not None and self._handlers.any:
            self._warm_shell()
        if url:
            self._feed.follow(url, [it.registry_id for it in self._installed.values()])

    def _warm_shell(self) -> None:
        """Have the runner compile, once, what handlers from source have in common: the first edit
        would wait for it."""
        if self._runner and self._runner != self._warmed:
            self._warmed = self._runner
            self._warm(lambda: b'{"runs_from":"source"}', "application/json")

    def wrap_builder(self, builder: BundleBuilder) -> BundleBuilder:
        """A builder whose components are compiled early, and that packs handlers from source."""
        if isinstance(builder, CachingBundleBuilder):
            builder.on_component = self.compile_early
        return builder if self._handlers is None else self._handlers.wrap(builder)

    def compile_early(self, component: Path) -> None:
        """Have the runner compile a component while its bundle is packed and uploaded.

        Best effort: what does not arrive is compiled when the bundle is there.
        """
        try:
            status = component.stat()
        except OSError:
            return
        stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
        if status.st_size >= _EARLY_BYTES and self._sent.get(component) != stamp:
            self._sent[component] = stamp
            self._warm(component.read_bytes, "application/wasm")

    def _warm(self, document: Callable[[], bytes], kind: str) -> None:
        """Ask the runner of the last status to have something compiled, in the background."""
        url, lock = self._runner, self._lock()
        if not url or lock is None or not isinstance(lock.intent.runner.image, BundledImage):
            return
        token = _revealed(inbound_token(lock))
        headers = {"Content-Type": kind, **({"x-runner-service-token": token} if token else {})}

        def warm() -> None:
            from http.client import HTTPException

            with contextlib.suppress(OSError, HTTPException):
                ProbeClient().probe(f"{url}/warmup", _WARM_SECONDS, document(), headers)

        threading.Thread(target=warm, name="warm", daemon=True).start()

    def _token(self) -> Secret | None:
        from algaenv.drivers.dev_channel import gateway_token

        lock = self._lock()
        return gateway_token(lock) if lock is not None else None

    def _lock(self) -> Lock | None:
        """With the credentials of the environment, and nothing else that is resolved."""
        from algaenv.drivers.state.settings import existing_secrets

        intent = self._intent
        environment = state_dir.identify(self._request.spec, "")
        credentials = existing_secrets(environment, intent) if intent else None
        if intent is None or credentials is None:
            return None
        return Lock(environment, intent, Ports(0, 0, 0, 0, 0, 0), credentials, ())

    def _ended(self, turn: ExtensionTurn, changed: tuple[str, ...]) -> Turn:
        state: State = {APPLIED: "applied", FAILED: "failed"}.get(turn.state, "idle")  # type: ignore[assignment]
        from algaenv.bundle.value import replace

        source = os.path.realpath(self._extensions[turn.name].source)
        paths = tuple(os.path.relpath(it, source) for it in changed)
        return replace(
            self._turn(turn.name, state),
            runs_from=turn.runs_from,
            changed=paths,
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

    def prepare(
        self, changed: Mapping[str, Sequence[str]], names: Sequence[str], *, components: bool
    ) -> None:
        """Also asks what answers now, where a component takes the place of the source."""
        if self._handlers is None:
            return
        if components:
            for name in self._handlers.owed():
                extension = self._installed.get(name)
                if extension is not None and extension.call_url and (not names or name in names):
                    calls = safe_calls(extension, tuple(self._calls))
                    self._recordings[name] = record(extension, calls, self._request.cancelled)
        self._packed = tuple(names) or tuple(self._extensions)
        self._handlers.prepare(changed, components=components)

    def owed(self) -> tuple[str, ...]:
        """None without handlers that run from source."""
        return self._handlers.owed() if self._handlers is not None else ()

    def runs_from_source(self, name: str) -> bool:
        """See the protocol."""
        return self._handlers is not None and self._handlers.runs_from_source(name)

    def describe(self, turn: ExtensionTurn, status: Status) -> ExtensionTurn:
        """`GET /notes 200 (3 ms)` of its first probe, else of the first endpoint that changes
        nothing, else `page 200`."""
        from algaenv.bundle.value import replace

        extension = next((it for it in status.extensions if it.name == turn.name), None)
        if turn.state == FAILED:
            return turn
        from_source = self.runs_from_source(turn.name)
        if from_source:
            turn = replace(turn, runs_from="source")
        if turn.state != APPLIED or extension is None or not extension.ready:
            return turn
        if not from_source and (recording := self._recordings.pop(turn.name, None)):
            compared = compare(extension, recording, self._request.cancelled)
            turn = replace(turn, differing=compared)
        probes = self._extensions[turn.name].probes if turn.name in self._extensions else ()
        paths = (*(it.path for it in probes), *(it.path for it in safe_calls(extension, ())))
        if paths and extension.call_url:
            answer = self._ask(extension.call_url.rstrip("/"), paths[0])
        else:
            answer = "page 200" if extension.page_url else ""
        return replace(turn, answer=answer)

    def _take_gateway(self, event: Mapping[str, Any]) -> None:
        if event.get("type") == "call-ended":
            self._calls.append(event)
        self._show_gateway(event)

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
        self._feed.stop()
        if self._handlers is not None:
            self._handlers.close()


class OpenPages:
    """Reports to the gateway from a thread of its own: a turn never waits for a report."""

    def __init__(self) -> None:
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="open pages")
        self._channel: DevChannel | None = None
        self._target: tuple[str, str] | None = None
        self._stop = threading.Event()

    def connect(self, url: str, token: Secret | None) -> None:
        """Report to the gateway at this URL from now on; opens no connection yet."""
        from algaenv.drivers.dev_channel import DevChannel

        if token is None or (url, token.reveal()) == self._target:
            return
        if self._target is None:
            threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        self._target = (url, token.reveal())
        self._channel = DevChannel(url, token)

    def report(self, turn: Turn) -> None:
        """Report in the background; nothing without a gateway."""
        channel = self._channel
        if channel is not None:
            self._sender.submit(channel.turn, turn)

    def close(self) -> None:
        """Report the end, and wait for that."""
        self._stop.set()
        self._sender.shutdown(wait=True, cancel_futures=True)
        if self._channel is not None:
            self._channel.ended()

    def _beat(self) -> None:
        from algaenv.drivers.dev_channel import HEARTBEAT_SECONDS

        while not self._stop.wait(HEARTBEAT_SECONDS):
            channel = self._channel
            if channel is not None:
                channel.alive()


def _revealed(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value
