"""Watches the sources of extensions and the files of the spec, and delivers what really changed.

Every directory is watched by itself, so that what is left out (`node_modules`, outputs of builds,
the state directory) costs nothing and wakes nothing. An event is only a reason to look: what
changed is decided by the content of files.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from algaenv.bundle.value import dataclass
from algaenv.dev.contents import ContentIndex
from algaenv.drivers.build.watched import Watched
from algaenv.model.problem import Failed, Problem

if TYPE_CHECKING:
    from watchfiles import Change

STEP_MS: Final = 30
"""Changes are delivered once nothing has changed for one to two of these."""
LONGEST_MS: Final = 2_000
"""After which they are delivered although more come."""
_IDLE_MS: Final = 200
"""After so long without a change, many are over."""
_MANY: Final = 8
"""Files that change at once; a tool may be at work that has not ended yet."""
_LOCK_SECONDS: Final = 2.0
"""For so long the lock of a repository means that Git changes files; it may wait for its user, or
have died."""
_FAILED_SECONDS: Final = 10.0
"""Before a watch is tried again that the kernel refuses."""
_TOOL_SECONDS: Final = 30.0
"""How long a tool may be at work before what has changed by then is delivered."""
_PAUSE: Final = 0.2
"""Seconds before a watch is tried again whose directories vanished meanwhile."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Files that changed: of the spec, and by extension. `saved` were saved without a change."""

    spec: tuple[str, ...]
    extensions: Mapping[str, tuple[str, ...]]
    saved: tuple[str, ...] = ()

    def and_then(self, later: Changes) -> Changes:
        """Both as one."""
        names = {**self.extensions, **later.extensions}
        return Changes(
            _both(self.spec, later.spec),
            {it: _both(self.extensions.get(it, ()), later.extensions.get(it, ())) for it in names},
            () if names or self.spec or later.spec else _both(self.saved, later.saved),
        )


@dataclass(frozen=True, slots=True)
class Targets:
    """What is watched: extensions by name, and the files that the spec is read from."""

    extensions: Mapping[str, Watched]
    spec_files: tuple[str, ...]


class Watcher:
    """Delivers changes from a thread, one delivery at a time, until it is stopped."""

    def __init__(self, deliver: Callable[[Changes | Failed], None]) -> None:
        self._deliver = deliver
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.directories = 0
        """The number of directories that are watched."""
        self._held: Changes | None = None
        """What has changed while a tool is at work."""
        self._held_since = 0.0

    def watch(self, targets: Targets) -> None:
        """Watch these from now on, instead of those before. Reads every file once."""
        self.stop()
        self._held = None
        view = _View(targets)
        view.index.update(view.starts)
        self.directories = len(view.watched())
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(view, self._stop), name="watcher", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; nothing is delivered afterwards."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, view: _View, stop: threading.Event) -> None:
        from watchfiles import watch

        told = ""
        while not stop.is_set():
            watched = view.watched()
            self.directories = len(watched)
            batches = watch(
                *sorted(watched),
                watch_filter=None,
                debounce=LONGEST_MS,
                step=STEP_MS,
                stop_event=stop,
                recursive=False,
                raise_interrupt=False,
                rust_timeout=_IDLE_MS,
                yield_on_timeout=True,
                ignore_permission_denied=True,
            )
            try:
                self._follow(view, watched, batches)
            except FileNotFoundError:
                # A directory vanished before it was watched.
                self._deliver_changes(view.changes((), view.starts))
                stop.wait(_PAUSE)
            except OSError as error:
                problem = _unwatchable(error, len(watched))
                if problem.summary != told:
                    self._deliver(Failed(problem))
                    told = problem.summary
                stop.wait(_FAILED_SECONDS)

    def _follow(
        self, view: _View, watched: frozenset[str], batches: Iterable[set[tuple[Change, str]]]
    ) -> None:
        """Until the directories to watch are others."""
        # What changed between the look before and the start of the watch.
        more: Collection[str] = view.starts
        for batch in batches:
            saved = {path for _, path in batch}
            changes = view.changes(saved, more)
            if self._held is not None:
                changes = self._held.and_then(changes)
            else:
                self._held_since = time.monotonic()
            more = ()
            working = len(saved) >= _MANY or view.is_git_at_work(busy=bool(saved))
            working = working or (self._held is not None and bool(saved))
            if working and time.monotonic() < self._held_since + _TOOL_SECONDS:
                self._held = changes
            else:
                self._held = None
                self._deliver_changes(changes)
            # A directory that was replaced is another one under the same name.
            if view.watched() != watched or not watched.isdisjoint(saved):
                return

    def _deliver_changes(self, changes: Changes) -> None:
        if changes.spec or changes.extensions or changes.saved:
            self._deliver(changes)


class _View:
    """The files of some targets."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._spec_files = frozenset(targets.spec_files)
        self._roots = {name: tuple(map(str, it.roots)) for name, it in targets.extensions.items()}
        self._own = _own_output()
        self.index = ContentIndex(self._counts, self._enters)
        roots = (root for several in self._roots.values() for root in several)
        self.starts = (*dict.fromkeys(roots), *targets.spec_files)
        """Where to begin to look."""
        self._git_locks = _git_locks(f"{it}/." for it in self.starts)

    def is_git_at_work(self, *, busy: bool) -> bool:
        """Whether Git changes the files of a repository that holds sources; `busy`: some files have
        just been changed."""
        for lock in self._git_locks:
            with contextlib.suppress(OSError):
                age = time.time() - os.lstat(lock).st_mtime
                if busy or age < _LOCK_SECONDS:
                    return True
        return False

    def watched(self) -> frozenset[str]:
        """The directories to watch: those of the sources, and those that hold files of the spec.

        The parent of a source is among them: it shows that the source was replaced.
        """
        linked = self.index.links
        outside = {_existing(os.path.dirname(it)) for it in (*self.starts, *linked)}  # noqa: PTH120
        return frozenset(self.index.directories | outside)

    def changes(self, saved: Collection[str], more: Collection[str]) -> Changes:
        """What changed in these paths, or below; `more` were not saved as far as is known."""
        linked = (link for it in saved for link in self.index.links.get(it, ()))
        changed = self.index.update((*saved, *more, *linked))
        found: dict[str, tuple[str, ...]] = {}
        for name in self._targets.extensions:
            if own := tuple(sorted(path for path in changed if self._is_of(name, path))):
                found[name] = own
        same = () if changed else tuple(sorted(it for it in saved if self.index.knows(it)))
        return Changes(tuple(sorted(changed & self._spec_files)), found, same)

    def _counts(self, path: str) -> bool:
        if path in self._own:
            return False
        return path in self._spec_files or any(self._is_of(it, path) for it in self._roots)

    def _enters(self, directory: str) -> bool:
        return any(
            self._is_below(it, directory) and watched.enters(directory)
            for it, watched in self._targets.extensions.items()
        )

    def _is_of(self, name: str, path: str) -> bool:
        return self._is_below(name, path) and self._targets.extensions[name].counts(path)

    def _is_below(self, name: str, path: str) -> bool:
        return any(path == it or path.startswith(it + "/") for it in self._roots[name])


def _own_output() -> frozenset[str]:
    """The files that this process prints to: each line would be a change of a source."""
    found = set()
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            found.add(os.path.realpath(f"/proc/self/fd/{descriptor}"))
    return frozenset(found)


def _both(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*one, *other}))


def _git_locks(paths: Iterable[str]) -> tuple[str, ...]:
    """The locks of the repositories that hold these paths."""
    found = set()
    for path in paths:
        directory = path
        while directory != (directory := os.path.dirname(directory)):  # noqa: PTH120
            if os.path.isdir(f"{directory}/.git"):  # noqa: PTH112
                found.add(f"{directory}/.git/index.lock")
                break
    return tuple(sorted(found))


def _existing(directory: str) -> str:
    """The directory, or the nearest above it that exists."""
    while not os.path.isdir(directory) and directory != os.path.dirname(directory):  # noqa: PTH112, PTH120
        directory = os.path.dirname(directory)  # noqa: PTH120
    return directory


def _unwatchable(error: OSError, directories: int) -> Problem:
    return Problem(
        "watch-failed",
        f"cannot watch {directories} directories: {error.strerror or error}",
        "raise `fs.inotify.max_user_watches` and `fs.inotify.max_user_instances` of the kernel, or "
        "run `algaenv up` after each save",
    )
