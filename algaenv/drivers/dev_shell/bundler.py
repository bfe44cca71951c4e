"""Bundles the modules of a handler into one text, with the esbuild that this package pins.

One Node process lives as long as the bundler and keeps what it has parsed. It is asked over its
standard input and answers on its standard output, a line of JSON each. What it is made of is
installed once a machine, into the user's cache, by `npm ci`.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from algaenv.bundle.value import dataclass
from algaenv.model.problem import Problem, ResolveError, Where
from algaenv.system.locks import file_lock

HERE = Path(__file__).parent
NEEDED_NODE: Final = 20
DEFAULT_SECONDS: Final = 30.0
"""For one bundle; a large project takes a second the first time."""
INSTALL_SECONDS: Final = 300.0
_CHUNK = 1 << 16
_END_SECONDS = 2.0
_TAIL = 20


@dataclass(frozen=True, slots=True)
class Bundled:
    """A handler as one CommonJS module, its source map, and the files it was made of."""

    text: bytes
    source_map: bytes
    inputs: tuple[Path, ...]


class HandlerBundler:
    """Bundles handlers, one at a time; leave the context to end its process.

    `cache` is the directory where esbuild is installed, and `seconds` bounds one bundle. Methods
    may be called from any thread.
    """

    def __init__(
        self,
        cache: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        seconds: float = DEFAULT_SECONDS,
    ) -> None:
        self._cache, self._environ, self._seconds = cache, environ, seconds
        self._lock = threading.Lock()
        self._process: _BundlerProcess | None = None

    def __enter__(self) -> HandlerBundler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process; the next bundle would start another."""
        with self._lock:
            self._end()

    def bundle(self, entry: Path, packages: Sequence[Path] = ()) -> Bundled:
        """Bundle the modules that `entry` leads to. `packages` are directories of installed
        packages, where those are looked for that are not installed beside the modules.

        Raises ResolveError: `handler-bundle` with one problem for each error in the author's
        files, `bundler-missing` without Node and npm, `bundler-install` when esbuild cannot be
        installed, and `bundler-broken` when it gives no answer.
        """
        entry = entry.absolute()
        request = {
            "entry": str(entry),
            "root": str(project_root(entry)),
            "packages": list(map(str, packages)),
        }
        with self._lock:
            answer = self._ask(request)
        if errors := answer.get("errors"):
            raise ResolveError(*(_problem(entry, error) for error in errors))
        inputs = (Path(name) for name in answer["inputs"])
        # What esbuild makes up itself is no file.
        there = tuple(path for path in inputs if path.is_file())
        return Bundled(answer["text"].encode(), answer["sourceMap"].encode(), there)

    def _ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        # A process that died while nothing was asked of it is replaced without a word.
        for attempt in range(2):
            if self._process is None:
                self._process = _BundlerProcess(self._installed(), self._environ)
            try:
                return self._process.ask(request, self._seconds)
            except _Ended as ended:
                words = self._end()
                if attempt or ended.timed_out:
                    raise ResolveError(
                        Problem(
                            "bundler-broken",
                            f"cannot bundle {request['entry']}: esbuild {ended}",
                            "save the file once more; if that does not help, run `algaenv dev` "
                            "with --no-shell",
                            detail=words,
                        )
                    ) from None
        raise AssertionError

    def _end(self) -> tuple[str, ...]:
        process, self._process = self._process, None
        return () if process is None else process.end()

    def _installed(self) -> Path:
        """The main module of esbuild, installed if it is not there."""
        place = installation(self._cache)
        main = place / "node_modules/esbuild/lib/main.js"
        _require_node(self._environ)
        if main.is_file():
            return main
        try:
            self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            with file_lock(self._cache / f"{place.name}.lock"):
                if not main.is_file():
                    _install(place, self._environ)
        except OSError as error:
            raise _not_installed(error.strerror or str(error)) from error
        return main


def installation(cache: Path) -> Path:
    """Where in a cache the esbuild of the lock file is installed."""
    lock = (HERE / "package-lock.json").read_bytes()
    return cache / f"esbuild-{hashlib.sha256(lock).hexdigest()[:16]}"


def project_root(entry: Path) -> Path:
    """The directory of the extension that a module belongs to."""
    for folder in entry.parents:
        if any((folder / name).is_file() for name in ("package.json", "manifest.json")):
            return folder
    return entry.parent


def _install(place: Path, environ: Mapping[str, str]) -> None:
    """Install what the lock file names; the directory appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".installing-") as name:
        draft = Path(name) / "esbuild"
        draft.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / file, draft)
        command = ["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"]
        try:
            ended = subprocess.run(
                command,
                cwd=draft,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=INSTALL_SECONDS,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise _not_installed(f"npm ci took longer than {INSTALL_SECONDS:g} s") from None
        if ended.returncode:
            raise _not_installed(
                f"npm ci ended with exit code {ended.returncode}", _lines(ended.stdout)
            )
        shutil.rmtree(place, ignore_errors=True)
        draft.replace(place)


def _require_node(environ: Mapping[str, str]) -> None:
    for program in ("node", "npm"):
        if shutil.which(program, path=environ.get("PATH")) is None:
            raise ResolveError(
                Problem(
                    "bundler-missing",
                    f"cannot run a handler from source: {program} is not on PATH",
                    f"install Node {NEEDED_NODE} with npm, or run `algaenv dev` with --no-shell",
                )
            )


def _not_installed(why: str, detail: tuple[str, ...] = ()) -> ResolveError:
    return ResolveError(
        Problem(
            "bundler-install",
            f"cannot install esbuild: {why}",
            "let npm reach its registry once, or run `algaenv dev` with --no-shell",
            detail=detail,
        )
    )


def _problem(entry: Path, error: Mapping[str, Any]) -> Problem:
    place = error.get("place")
    where = None
    detail = list(error.get("notes") or ())
    if place:
        where = Where(_shown(place["file"]), place["line"], place["column"])
        detail.insert(0, place["lineText"].strip())
    return Problem(
        "handler-bundle",
        f"cannot bundle {_shown(str(entry))}: {error['text']}",
        "correct it and save; what ran before goes on answering",
        where,
        tuple(detail),
    )


def _shown(file: str) -> str:
    return file.removeprefix(f"{Path.cwd()}/")


def _lines(output: bytes) -> tuple[str, ...]:
    return tuple(output.decode(errors="replace").strip().splitlines()[-_TAIL:])


class _Ended(Exception):
    """The process gave no answer; the text continues "esbuild …"."""

    def __init__(self, why: str, *, timed_out: bool = False) -> None:
        super().__init__(why)
        self.timed_out = timed_out


class _BundlerProcess:
    def __init__(self, esbuild: Path, environ: Mapping[str, str]) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        try:
            self._process = subprocess.Popen(
                ["node", str(HERE / "bundler.mjs"), str(esbuild)],
                env=dict(environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                # A Ctrl-C is for this process, which ends the other.
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise _not_installed(f"node: {error.strerror}") from error

    def ask(self, request: Mapping[str, object], seconds: float) -> dict[str, Any]:
        """The answer to one request. Raises _Ended."""
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise _Ended("has ended") from None
        try:
            answer: dict[str, Any] = json.loads(self._line(time.monotonic() + seconds, seconds))
        except ValueError:
            raise _Ended("answered what is no JSON") from None
        return answer

    def end(self) -> tuple[str, ...]:
        """End it, and return the last lines that it wrote to its standard error."""
        process = self._process
        for stream in (process.stdin, process.stdout):
            assert stream is not None  # noqa: S101
            try:
                stream.close()
            except OSError:
                continue
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with self._stderr as stderr:
            stderr.seek(0)
            return _lines(stderr.read())

    def _line(self, deadline: float, seconds: float) -> bytes:
        assert self._process.stdout is not None  # noqa: S101
        descriptor = self._process.stdout.fileno()
        received = bytearray()
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                self._process.kill()
                raise _Ended(f"gave no answer within {seconds:g} s", timed_out=True)
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                raise _Ended("has ended")
            received += chunk
        return bytes(received)
