"""Plans and states as text.

A plan: its changes with causes, what is deferred or blocked, and the totals. A status: services,
extensions with their addresses, the tenant, the variables.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from algaenv.cli.output.escape import escape_controls, render_problem
from algaenv.cli.output.lines import verb_style
from algaenv.cli.output.terminal import GAP, PLAIN, Paint, aligned
from algaenv.model.kind import Address
from algaenv.model.plan import Blocked, Plan, Step, Verb
from algaenv.model.secret import Secret
from algaenv.model.status import ExtensionStatus, ServiceStatus, Status

NOTHING = "No changes. What is there is what the spec asks for."
NOTHING_YET = "No changes so far; the rest can be told once its host answers."
SHOWN_CALLS = 4
"""Handlers listed for each extension unless `verbose`."""
_STYLE = (("ready", "green"), ("running", "yellow"), ("stopped", "yellow"), ("absent", "red"))


def plan_text(plan: Plan, paint: Paint = PLAIN) -> str:
    """The whole plan without the steps that only wait for an answer."""
    plan = escape_controls(plan)
    sections = [
        _steps(plan.actions, paint),
        _deferred(plan, paint),
        _blocked(plan, paint),
        _kept(plan, paint),
        _engines(plan, paint),
        [total(plan, paint)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def total(plan: Plan, paint: Paint = PLAIN) -> str:
    """`Plan: 3 to create, 1 to update, 0 to delete.`"""
    in_the_way = [one for one in plan.blocked if not _lacks_bundle(one)]
    if not plan.changes and in_the_way:
        return paint(f"Nothing can be done: {len(in_the_way)} in the way.", "bold")
    if not plan.changes and plan.blocked:
        return paint("No changes, but for what has no bundle.", "bold")
    if not plan.changes:
        return paint(NOTHING_YET if plan.deferred else NOTHING, "bold")
    verbs = [step.verb for step in plan.actions]
    shown = [
        f"{verbs.count(verb)} to {verb}"
        for verb in Verb
        if verb in verbs or verb in {Verb.CREATE, Verb.UPDATE, Verb.DELETE}
    ]
    more = f", {len(plan.deferred)} to be seen later" if plan.deferred else ""
    return paint(f"Plan: {', '.join(shown)}{more}.", "bold")


def _steps(steps: tuple[Step, ...], paint: Paint) -> list[str]:
    cells = aligned(
        [(f"{s.verb.symbol:>3}", str(s.verb), str(s.address), s.cause.kind) for s in steps]
    )
    lines = []
    for step, (symbol, verb, address, kind) in zip(steps, cells, strict=True):
        style = verb_style(step.verb)
        head = f"{paint(symbol, style, 'bold')}{paint(verb, style)}{paint(address, 'bold')}{kind}"
        lines.append(head)
        lines += [f"{'':9}{paint(detail, 'dim')}" for detail in step.cause.detail]
    return lines


def _deferred(plan: Plan, paint: Paint) -> list[str]:
    """Grouped by reason, since a whole host is unavailable at once."""
    reasons: dict[str, list[str]] = {}
    for one in plan.deferred:
        reasons.setdefault(one.why, []).append(str(one.resource.address))
    if not reasons:
        return []
    lines = [paint("Not decided yet:", "bold")]
    for why, addresses in reasons.items():
        lines.append(f"  {why}:")
        lines += [f"    {address}" for address in addresses]
    return lines


def _blocked(plan: Plan, paint: Paint) -> list[str]:
    lines = []
    for title, lacking in (
        ("No bundle, so what is installed stays:", True),
        ("In the way:", False),
    ):
        listed: set[Address] = set()
        for one in (it for it in plan.blocked if _lacks_bundle(it) is lacking):
            lines += [] if listed else [paint(title, "bold")]
            lines += [] if one.address in listed else [f"  {one.address}"]
            lines += [f"    {line}" for line in render_problem(one.problem, paint).splitlines()]
            listed.add(one.address)
    return lines


def _engines(plan: Plan, paint: Paint) -> list[str]:
    if not plan.engines:
        return []
    rows = [(it.service, f"{it.name} {it.version}".rstrip(), it.source) for it in plan.engines]
    return [paint("Services:", "bold"), *("".join(cells) for cells in aligned(rows, indent=2))]


def _lacks_bundle(blocked: Blocked) -> bool:
    return blocked.error != "Conflict"


def _kept(plan: Plan, paint: Paint) -> list[str]:
    if not plan.kept:
        return []
    lines = [paint("Kept:", "bold")]
    lines += ["".join(c) for c in aligned([(str(k.address), k.why) for k in plan.kept], indent=2)]
    return lines


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
