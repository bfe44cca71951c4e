"""The support bundle: one archive with what somebody else needs to see what went wrong.

Every text goes through the redactor. What cannot be read in time is left out, and said so.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from algaenv import __version__
from algaenv.doctor.finding import CheckFinding
from algaenv.doctor.redact import Redactor, known_secrets, plain
from algaenv.doctor.subject import Subject
from algaenv.drivers.state.private_files import make_private_directory
from algaenv.model.isolated import authored_spec
from algaenv.model.problem import AlgaenvError
from algaenv.reconcile.endpoints import services_of
from algaenv.reconcile.log_records import entry_text
from algaenv.system.files import write_atomic

DIRECTORY: Final = "support"
"""In the state directory."""
QUICK_SECONDS: Final = 0.7
"""For a command that has failed: nobody waits longer for its error."""
THOROUGH_SECONDS: Final = 20.0
KEPT: Final = 5
MAX_BYTES: Final = 2 << 20
"""Of an archive."""
_MAX_TEXT: Final = 256 << 10
_LOG_LINES: Final = 200
_VARIABLES: Final = ("ALGAENV_", "DOCKER_", "XDG_")
_README: Final = """\
A support bundle of algaenv {version}, made {moment} after `{verb}`.

Secrets are replaced by ***, and so is what looks like one. Look through it before you pass it on.

{names}
"""

Part = Callable[[], str]
"""Makes the text of one file. May raise AlgaenvError and OSError."""


def collect(
    subject: Subject, given: dict[str, str], wanted: dict[str, Part], deadline: float
) -> dict[str, str]:
    """Name → text of each file, redacted. `given` are texts that are there already.

    The others are read side by side until `deadline`, a moment of time.monotonic.
    """
    redactor = redactor_of(subject)
    made: dict[str, str] = {}

    def read(name: str, part: Part) -> None:
        try:
            made[name] = part()
        except (AlgaenvError, OSError, ValueError) as error:
            made[name] = f"cannot be read: {error}\n"
        except Exception as error:  # A bug here must not hide what the bundle is about.
            made[name] = f"cannot be read: {type(error).__name__}\n"

    threads = [
        threading.Thread(target=read, args=(name, part), daemon=True)
        for name, part in wanted.items()
        if name not in given
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = "could not be read in the time there was\n"
    texts = {name: made.get(name, late) for name in wanted} | given
    return {name: redactor.text(_last(text)) for name, text in texts.items() if text}


def redactor_of(subject: Subject) -> Redactor:
    """Hides all that is known of the environment and of the variables of this process."""
    environment, intent, saved = subject.environment, subject.intent, subject.saved
    intents = [it for it in (intent, saved.intent if saved else None) if it is not None]
    credentials = None
    if environment is not None and intent is not None:
        credentials = subject.container.existing_credentials(environment, intent)
    dotenv = authored_spec(environment.spec).parent / ".env" if environment else None
    return Redactor(known_secrets(intents, credentials, subject.environ, dotenv))


def parts_of(subject: Subject) -> dict[str, Part]:
    """What is read for a bundle."""
    found: dict[str, Part] = {"versions.json": lambda: _json(versions(subject))}
    environment, intent = subject.environment, subject.intent
    if environment is None:
        return found
    spec = authored_spec(environment.spec)
    for name in (spec.name, f"{spec.stem}.local{spec.suffix}"):
        path = spec.with_name(name)
        if path.is_file():
            found[f"spec/{name}"] = lambda path=path: _spec(subject, path)  # type: ignore[misc]
    if intent is not None:
        found["spec/resolved.json"] = lambda: _json(plain(intent))
        for service in services_of(intent) if subject.saved else ():
            found[f"logs/{service}.log"] = lambda service=service: _log(subject, service)  # type: ignore[misc]
        for task in intent.tasks:
            log = environment.home / "logs" / f"task-{task.name}.log"
            if log.is_file():
                found[f"logs/{log.name}"] = lambda log=log: _tail(log)  # type: ignore[misc]
    found["logs/algaenv.log"] = lambda: _tail(environment.home / "logs" / "algaenv.log")
    return found


def _spec(subject: Subject, path: Path) -> str:
    return redactor_of(subject).spec(path.read_text("utf-8", errors="replace"))


def _log(subject: Subject, service: str) -> str:
    lines = []
    for it in subject.log(service, _LOG_LINES):
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(it.at))
        lines.append(f"{moment} {it.source} {it.level or '-'} {entry_text(it)}\n")
    return "".join(lines)


def _tail(path: Path) -> str:
    """The last lines of a file; a line that is cut is left out, since a secret could be in it."""
    with path.open("rb") as stream:
        begin = max(0, stream.seek(0, os.SEEK_END) - _MAX_TEXT)
        stream.seek(begin)
        text = stream.read().decode(errors="replace")
    return text.partition("\n")[2] if begin else text


def _last(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[-_MAX_TEXT:].partition("\n")[2]


def events_of_run(subject: Subject, process: int) -> dict[str, str]:
    """The events of one process in the log of the environment, a line each; and of these the last
    plan, and the report."""
    environment = subject.environment
    if environment is None:
        return {}
    try:
        lines = _tail(environment.home / "logs" / "algaenv.log").splitlines(keepends=True)
    except OSError:
        return {}
    own = [it for it in lines if f"[{process}] " in it.partition("{")[0]]
    found = {"events.log": "".join(own)} if own else {}
    for name, event in (("plan.json", "planned"), ("problem.json", "report")):
        for line in own:
            if f'"event": "{event}"' in line:
                found[name] = line[line.index("{") :]
    return found


def versions(subject: Subject) -> dict[str, Any]:
    """Of this program, of Python, of the system, of the engine, and of what it depends on."""
    from algaenv.doctor.machine import python

    engine = subject.engine()
    packages: dict[str, str] = {}
    for requirement in metadata.requires("algaenv") or ():
        name = requirement.partition(";")[0].strip().split(" ")[0]
        name = name.partition("[")[0].partition("<")[0].partition(">")[0].partition("=")[0]
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "algaenv": __version__,
        "machine": python(subject)[0].summary,
        "engine": plain(engine),
        "packages": packages,
        # Of variables only the names: their values may be anything.
        "variables": sorted(it for it in subject.environ if it.startswith(_VARIABLES)),
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def archive_of(texts: dict[str, str], verb: str) -> bytes:
    """The archive, at most MAX_BYTES: the largest texts are left out until it fits."""
    texts = dict(texts)
    left_out: list[str] = []
    while True:
        listed = [f"{name}: {len(text)} characters" for name, text in sorted(texts.items())]
        listed += [f"{name}: left out, it is too large" for name in left_out]
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        names = "\n".join(listed)
        readme = _README.format(version=__version__, moment=moment, verb=verb, names=names)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in {"README.txt": readme, **texts}.items():
                archive.writestr(name, text.encode(errors="replace"))
        content = buffer.getvalue()
        if len(content) <= MAX_BYTES or not texts:
            return content
        largest = max(texts, key=lambda it: len(texts[it]))
        del texts[largest]
        left_out.append(largest)


def write_kept(home: Path, verb: str, content: bytes) -> Path:
    """Write an archive into a state directory, 0600; the oldest beyond KEPT are removed.

    Raises Refused (`home-unsafe`) and OSError.
    """
    directory = home / DIRECTORY
    make_private_directory(directory)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    path = directory / f"{stamp}-{os.getpid()}-{verb}.zip"
    write_atomic(path, content)
    for old in sorted(_archives(directory))[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def _archives(directory: Path) -> Iterator[Path]:
    return (it for it in directory.glob("*Z-*-*.zip") if it.is_file() and not it.is_symlink())


def findings_part(
    subject: Subject, shape: Callable[[Sequence[CheckFinding]], object], seconds: float
) -> Part:
    """Makes the checks within `seconds`; `shape` turns their findings into JSON."""
    from algaenv.doctor.examine import examine

    return lambda: _json(shape(examine(subject, most=seconds)))
