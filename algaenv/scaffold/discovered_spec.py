"""The spec of a directory: what was found in it, and comments on what an author may want next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from algaenv.scaffold.discovery import Discovery, FoundExtension, RunnerSettings
from algaenv.scaffold.spec_text import SCHEMA_LINE, yaml_text

_DEFAULTS: Final = {"runner": 8085, "store": 4569}
_BUCKET: Final = "extensions"
_APP_URL: Final = "http://localhost:3000"
_COLUMN: Final = 36


def discovered_spec(name: str, found: Discovery, is_free: Callable[[int], bool]) -> str:
    """The text of a spec; `is_free` tells whether a server could listen on a port now."""
    lines = [SCHEMA_LINE, "version: 1", f"name: {yaml_text(name)}", ""]
    lines += list(_extensions(found.extensions))
    lines += list(_runner(found, is_free))
    lines += list(_choices(found))
    return "\n".join(lines) + "\n"


def _extensions(extensions: tuple[FoundExtension, ...]) -> Iterator[str]:
    usable = [it for it in extensions if not it.problem]
    left_out = [it for it in extensions if it.problem]
    if not usable:
        yield "# No extension was found that could be installed. `algaenv new NAME` begins one."
        yield "extensions: {}" if not left_out else "extensions:"
    else:
        yield "extensions:"
    for one in usable:
        yield _commented(f"  {yaml_text(one.name)}:", one.about)
        yield f"    source: {_path(one.source)}"
        if one.build is not None:
            yield _commented(f"    build: {one.build}", one.tools)
    for one in left_out:
        yield f"  # {one.about}: {' '.join(one.problem.split())}"
        yield f"  # {yaml_text(one.name)}:"
        yield f"  #   source: {_path(one.source)}"
    yield ""


def _runner(found: Discovery, is_free: Callable[[int], bool]) -> Iterator[str]:
    settings = found.runner
    if settings is None and found.runner_sources is None:
        return
    if settings is not None:
        yield from _store(settings, is_free)
    lines = []
    if settings is not None and settings.runner_port not in (None, _DEFAULTS["runner"]):
        lines.append(_port_line(settings.runner_port or 0, settings.file, is_free))
    if settings is not None and settings.environment:
        lines.append(f"  environment:  # as {settings.file} has them")
        lines += [f"    {key}: {_text(value)}" for key, value in settings.environment.items()]
    yield _commented("runner:" if lines else "# runner:", _compose_note(found))
    yield from lines
    if found.runner_sources is not None:
        context = f"  # image: {{build: {{context: {_path(found.runner_sources)}}}}}"
        yield f"{context}  # Alga's own runner"
    if settings is not None and settings.secrets:
        yield f"# {', '.join(settings.secrets)} of {settings.file} are generated anew:"
        yield "# `algaenv status -o env` prints what the app server needs."
    yield ""
    if settings is not None and settings.app_url not in (None, _APP_URL):
        yield _commented(f"app_url: {settings.app_url}", f"as {settings.file} has it")
        yield ""


def _compose_note(found: Discovery) -> str:
    return f"takes the place of the one in {found.compose}" if found.compose else ""


def _store(settings: RunnerSettings, is_free: Callable[[int], bool]) -> Iterator[str]:
    lines = []
    if settings.store_port not in (None, _DEFAULTS["store"]):
        lines.append(_port_line(settings.store_port or 0, settings.file, is_free))
    if settings.bucket not in (None, _BUCKET):
        lines.append(f"  bucket: {_text(settings.bucket or '')}")
    if lines:
        yield from ("store:", *lines, "")


def _port_line(port: int, file: str, is_free: Callable[[int], bool]) -> str:
    if is_free(port):
        return _commented(f"  port: {port}", f"as {file} has it")
    return _commented("  port: auto", f"{file} has {port}, which something else holds")


def _choices(found: Discovery) -> Iterator[str]:
    yield "# runtime: auto                     # docker where an engine answers, else processes"
    yield "# ports: auto                       # free ones, chosen once and kept"
    yield "# keep_versions: 1                  # older bundles of each extension, for a rollback"
    yield "# database:                         # that of a running Alga, instead of one of its own"
    yield "#   url: ${ALGA_DATABASE_URL}"
    yield "# gateway:                          # a running app server, instead of a stand-in"
    app_url = found.runner.app_url if found.runner else None
    yield f"#   url: {app_url or _APP_URL}"


def _commented(line: str, comment: str) -> str:
    if not comment:
        return line
    return f"{line.ljust(_COLUMN - 2)}  # {' '.join(comment.split())}"


def _path(text: str) -> str:
    shown = text if text == "." or text.startswith("./") else f"./{text}"
    return _text(shown)


def _text(text: str) -> str:
    """A scalar; a dollar sign that is text is doubled, or it would begin a variable."""
    return yaml_text(text.replace("$", "$$"))
