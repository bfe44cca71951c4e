"""The screen of `dev` on a terminal, redrawn in place, and its keys."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from algaenv.cli.output.dev_screen import draw
from algaenv.cli.output.dev_state import Screen, reduce_dev, reduce_gateway
from algaenv.cli.output.escape import escape_controls
from algaenv.cli.output.terminal import live_console
from algaenv.dev.events import DevEvent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from algaenv.cli.output.terminal import Terminal

_FRAMES_A_SECOND: Final = 10
_QUIET_FRAMES_A_SECOND: Final = 1
_PAUSE: Final = 0.2
_STOP_SECONDS: Final = 1.0


class DevView:
    """Shows the state; `keys` maps a key to what it does, which returns a remark."""

    def __init__(self, terminal: Terminal, keys: Mapping[str, Callable[[Screen], str]]) -> None:
        self._terminal = terminal
        self._keys = keys
        self._screen = Screen()
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._log_only = False
        self._leaving = False
        self._note = ""
        self._stop = threading.Event()
        self._changed = threading.Event()
        self._before: list[Any] | None = None
        """The settings of the terminal, while they are others."""

    def emit(self, event: DevEvent) -> None:
        """Take an event of `dev`."""
        with self._lock:
            self._screen = reduce_dev(self._screen, escape_controls(event), time.time())
        self._refresh()

    def emit_gateway(self, event: Mapping[str, Any]) -> None:
        """Take an event of the gateway."""
        with self._lock:
            self._screen = reduce_gateway(self._screen, event)
        self._refresh()

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Take the whole terminal inside the block, and read keys."""
        from rich.live import Live

        console = live_console(self._terminal.err, self._terminal.err_paint)
        self._live = Live(
            console=console,
            get_renderable=lambda: self._frame(console),
            refresh_per_second=_QUIET_FRAMES_A_SECOND,
            screen=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._take_keys()
        self._live.start()
        threads = [threading.Thread(target=it, daemon=True) for it in (self._read_keys, self._draw)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._changed.set()
            for thread in threads:
                thread.join(1)
            self.restore()

    def _frame(self, console: Console) -> RenderableType:
        width, height = console.size
        with self._lock:
            screen = self._screen
        return draw(
            screen,
            width=width,
            height=height,
            log_only=self._log_only,
            leaving=self._leaving,
            note=self._note,
        )

    def _refresh(self) -> None:
        self._changed.set()

    def _draw(self) -> None:
        """Draw what has changed, at most so often: a build prints faster than anybody reads."""
        while not self._stop.is_set():
            self._changed.wait()
            self._changed.clear()
            live = self._live
            if live is not None and not self._stop.is_set():
                live.refresh()
            self._stop.wait(1 / _FRAMES_A_SECOND)

    def _take_keys(self) -> None:
        """Keys come one by one and are not echoed; Ctrl-C stays an interrupt."""
        import termios
        import tty

        descriptor = sys.stdin.fileno()
        self._before = termios.tcgetattr(descriptor)
        tty.setcbreak(descriptor, termios.TCSANOW)

    def restore(self) -> None:
        """Give the terminal back as it was. Repeating it does nothing."""
        import termios

        before, self._before = self._before, None
        if before is not None:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, before)
        live, self._live = self._live, None
        if live is not None:
            # What is abandoned may hold a lock that this needs.
            stopping = threading.Thread(target=live.stop, daemon=True)
            stopping.start()
            stopping.join(_STOP_SECONDS)

    def _read_keys(self) -> None:
        descriptor = sys.stdin.fileno()
        while not self._stop.is_set():
            try:
                ready, _, _ = select.select([descriptor], [], [], _PAUSE)
                key = os.read(descriptor, 64).decode(errors="replace") if ready else ""
            except OSError:
                return
            if ready and not key:  # The terminal is gone.
                return
            if key:
                self.press(key[0])

    def press(self, key: str) -> None:
        """Act on a key."""
        self._note = ""
        if self._leaving:
            self._leaving = False
            action = {"d": "detach", "s": "stop"}.get(key, "")
            if action in self._keys:
                self._note = self._keys[action](self._screen)
        elif key == "q":
            self._leaving = True
        elif key == "l":
            self._log_only = not self._log_only
        elif key in self._keys and len(key) == 1:
            self._note = self._keys[key](self._screen)
        self._refresh()
