"""A status as text: services, extensions with their addresses, the tenant, the variables."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from algaenv.cli.output.escape import escape_controls
from algaenv.cli.output.terminal import GAP, PLAIN, Paint, aligned
from algaenv.model.secret import Secret
from algaenv.model.status import ExtensionStatus, ServiceStatus, Status

SHOWN_CALLS = 4
"""Handlers listed for each extension unless `verbose`."""

_STYLE = (("ready", "green"), ("running", "yellow"), ("stopped", "yellow"), ("absent", "red"))


def status_text(
    status: Status,
    paint: Paint = PLAIN,
    *,
    width: int | None = None,
    variables: bool = True,
    verbose: bool = False,
) -> str:
    """The whole status. `width` None never folds a line; `variables` adds masked variables."""
    status = escape_controls(status)
    sections = [
        [_title(status, paint)],
        _services(status.services, paint, width),
        _extensions(status.extensions, paint, verbose=verbose),
        [f"{paint('tenant', 'bold')}  {status.tenant_id}"] if status.tenant_id else [],
        _variables(status, paint) if variables else [],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def all_ready(status: Status) -> bool:
    """True when every service and every extension answers."""
    return all(s.state == "ready" for s in status.services) and all(
        e.ready for e in status.extensions
    )


def nothing_there(status: Status) -> bool:
    """True when no service exists."""
    return all(service.state == "absent" for service in status.services)


def _title(status: Status, paint: Paint) -> str:
    environment = status.environment
    rest = f"on {status.runtime}, from {environment.spec}" if status.runtime else environment.spec
    return f"{paint(environment.name, 'bold')}  {paint(str(rest), 'dim')}"


def _services(services: Sequence[ServiceStatus], paint: Paint, width: int | None) -> list[str]:
    if not services:
        return []
    known = any(service.engine for service in services)
    rows = [(it.name, *([it.engine or "-"] if known else []), it.state, "") for it in services]
    head, *cells = aligned([("service", *(["engine"] if known else []), "state", ""), *rows])
    left = len("".join(head))
    lines = [paint("".join(head) + "endpoints", "dim")]
    for service, (name, *engine, state, _) in zip(services, cells, strict=True):
        ends = [f"{key} {url}" for key, url in sorted(service.endpoints.items())]
        if service.detail:
            ends.append(f"({service.detail})")
        style = dict(_STYLE).get(service.state, "yellow")
        start = f"{paint(name, 'bold')}{''.join(engine)}{paint(state, style)}"
        lines += _folded(start, left, ends, width)
    return lines


def _folded(head: str, left: int, ends: list[str], width: int | None) -> list[str]:
    """The endpoints beside the head, or one below the other where they do not fit."""
    together = (" " * GAP).join(ends)
    if width is None or left + len(together) <= width:
        return [f"{head}{together}".rstrip()]
    first, *rest = ends
    return [f"{head}{first}", *(f"{'':{left}}{end}" for end in rest)]


def _extensions(extensions: Sequence[ExtensionStatus], paint: Paint, *, verbose: bool) -> list[str]:
    if not extensions:
        return []
    rows = [(e.name, e.version, _short(e.content_hash), _state(e)) for e in extensions]
    cells = aligned([("extension", "version", "bundle", "state"), *rows])
    lines = [paint("".join(cells[0]), "dim")]
    for extension, (name, version, bundle, state) in zip(extensions, cells[1:], strict=True):
        style = "green" if extension.ready else "yellow"
        lines.append(f"{paint(name, 'bold')}{version}{bundle}{paint(state, style)}")
        lines += [f"  {line}" for line in _addresses(extension, paint, verbose=verbose)]
    return lines


def _addresses(extension: ExtensionStatus, paint: Paint, *, verbose: bool) -> list[str]:
    labels = {"msp": "page", "client": "client page"}
    rows = [(labels.get(name, name), url) for name, url in extension.portal_urls.items()]
    if extension.page_url and (verbose or not rows):
        rows.append(("runner page" if rows else "page", extension.page_url))
    shown = extension.endpoints if verbose else extension.endpoints[:SHOWN_CALLS]
    rows += [(method, call_url(extension, path)) for method, path in shown]
    lines = [f"{paint(label, 'dim')}{address}" for label, address in aligned(rows)]
    if hidden := len(extension.endpoints) - len(shown):
        lines.append(paint(f"{hidden} more with --verbose", "dim"))
    return lines


def call_url(extension: ExtensionStatus, path: str) -> str:
    """The address that runs one handler of an extension."""
    return f"{extension.call_url.rstrip('/')}/{path.lstrip('/')}"


def _state(extension: ExtensionStatus) -> str:
    state = "ready" if extension.ready else "not ready"
    return f"{state} ({extension.detail})" if extension.detail else state


def _short(content_hash: str) -> str:
    return content_hash.removeprefix("sha256:")[:12]


def _variables(status: Status, paint: Paint) -> list[str]:
    if not status.variables:
        return []
    where = f" at {status.app_server}" if status.app_server else ""
    lines = [paint(f"variables for the app server{where}", "dim")]
    lines += [
        f"{paint(name, 'bold')}={'***' if isinstance(value, Secret) else value}"
        for name, value in status.variables.items()
    ]
    return lines


def env_text(variables: Mapping[str, str | Secret]) -> str:
    """Variables as `KEY=value` lines, quoted for a shell where needed, secrets in clear text."""
    return "".join(f"{name}={_quoted(value)}\n" for name, value in variables.items())


def _quoted(value: str | Secret) -> str:
    """An empty value stays bare: env files would take a pair of quotes for the value."""
    text = value.reveal() if isinstance(value, Secret) else value
    return shlex.quote(text) if text else ""
