"""Checks of an environment that is up: what authors of extensions meet most often."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any, Final

from algaenv.bundle.page_lint import lint
from algaenv.bundle.value import dataclass
from algaenv.doctor.finding import Finding, good, of_problems, skipped
from algaenv.doctor.sources import manifest_of
from algaenv.doctor.subject import Subject
from algaenv.drivers.probe_http import HttpReply, ProbeClient
from algaenv.model.intent import ExtensionIntent
from algaenv.model.kind import Address
from algaenv.model.log import LogEntry
from algaenv.model.problem import AlgaenvError
from algaenv.model.status import ExtensionStatus, Status
from algaenv.plan.order import extension_of
from algaenv.reconcile.log_records import entry_text

_PAGE_SECONDS: Final = 10.0
_RECENT_SECONDS: Final = 24 * 3600.0
_LOG_BYTES: Final = 1 << 20
_MOST_CALLS: Final = 5
_HANDLER: Final = re.compile(r"/api/(?:ext|ext-proxy)/[^/]+(?P<path>/.*)?$")
_NO_HANDLER: Final = 404
_INSTALLING: Final = ("up", "dev", "test")


def _status(subject: Subject) -> Status | list[Finding]:
    """The status, or what to answer without one."""
    if subject.spec is None:
        return skipped("there is no spec")
    if subject.saved is None:
        return skipped("the environment has not been brought up")
    try:
        return subject.status()
    except AlgaenvError as error:
        return skipped(f"the environment cannot be looked at: {error.problem.summary}")


def services(subject: Subject) -> Sequence[Finding]:
    """Services that do not answer, with the last lines of their logs."""
    status = _status(subject)
    if isinstance(status, list):
        return status
    found = []
    down = [it for it in status.services if it.state != "ready"]
    if len(down) == len(status.services):
        return skipped("the environment is down; `algaenv up` brings it up")
    for service in down:
        if service.state == "absent":
            summary = f"{service.name} is not there"
        else:
            detail = f": {service.detail}" if service.detail else ""
            verb = "has stopped" if service.state == "stopped" else "runs, but does not answer"
            summary = f"{service.name} {verb}{detail}"
        lines = subject.last_lines(service.name)
        hint = "run `algaenv up`, which starts it and says what it ends with"
        if service.name == "runner":
            summary = f"the runner will not start: {summary}"
        found.append(Finding("failed", summary, f"{hint}; {_log_hint(service.name)}", lines))
    return found or good(f"all {len(status.services)} services answer")


def _log_hint(service: str) -> str:
    return f"`algaenv logs {service}` shows more"


def installs(subject: Subject) -> Sequence[Finding]:
    """Extensions of the spec that are not installed, or not as the rows should be."""
    status = _status(subject)
    intent = subject.intent
    if isinstance(status, list) or intent is None:
        return status if isinstance(status, list) else skipped("there is no spec")
    if _host_is_silent(status):
        return skipped("database or object store do not answer")
    there = {it.name: it for it in status.extensions}
    failures = last_failures(subject)
    found = []
    for extension in intent.extensions:
        name = extension.name
        why = tuple(failures.get(name, ()))
        hint = f"mend what is said there, then run `algaenv up {name}`"
        if name not in there:
            summary = f"{name} is in the spec, and not installed: its install failed or never ran"
            found.append(
                Finding("failed", summary, hint if why else f"run `algaenv up {name}`", why)
            )
        elif why:
            summary = (
                f"the last install of {name} in the log failed; {there[name].version} is there"
            )
            found.append(Finding("warning", summary, hint, why))
    names = {it.name for it in intent.every_extension}
    others = [line for name, lines in failures.items() if name not in names for line in lines]
    if others:
        hint = "mend what is said there, then run `algaenv up`"
        found.append(Finding("warning", "the last `up` in the log failed", hint, tuple(others)))
    unsettled = [it for it in status.extensions if it.name not in names]
    found += [
        Finding("warning", f"{it.name} is installed, and not in the spec", "run `algaenv up`")
        for it in unsettled
    ]
    return found or good(f"all {len(intent.extensions)} extensions are installed")


def last_failures(subject: Subject) -> Mapping[str, Sequence[str]]:
    """What the last `up` in the log failed with, by extension; what is about none has no name.

    A run that changes nothing leaves no entry.
    """
    report = last_report(subject)
    if report is None:
        return {}
    found: dict[str, list[str]] = {}
    listed = [(str(it.get("address", "")), it.get("problem")) for it in report.get("steps", ())]
    listed += [("", it) for it in report.get("problems", ())]
    for address, problem in listed:
        if isinstance(problem, dict):
            owner = extension_of(Address.parse(address)) if "/" in address else ""
            name = owner.partition("~")[0]
            hint = f" ({problem['hint']})" if problem.get("hint") else ""
            line = f"{problem.get('summary')} [{problem.get('code')}]{hint}"
            found.setdefault(name, []).append(line)
    return found


def last_report(subject: Subject) -> Mapping[str, Any] | None:
    """The report of the last `up` in the log of the environment; None without one."""
    environment = subject.environment
    if environment is None:
        return None
    try:
        with (environment.home / "logs" / "algaenv.log").open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - _LOG_BYTES))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        at = line.find("{")
        if '"report"' not in line or at < 0:
            continue
        try:
            document = json.loads(line[at:])
        except ValueError:
            continue
        if document.get("event") == "report" and document.get("verb") in _INSTALLING:
            return document if isinstance(document, dict) else None
    return None


def _host_is_silent(status: Status) -> bool:
    return any(it.name in {"store", "database"} and it.state != "ready" for it in status.services)


def handlers(subject: Subject) -> Sequence[Finding]:
    """404 on a handler: endpoints that were called, or are in the source, and not installed."""
    status = _status(subject)
    intent = subject.intent
    if isinstance(status, list) or intent is None:
        return status if isinstance(status, list) else skipped("there is no spec")
    there = {it.name: it for it in status.extensions}
    found: list[Finding] = []
    for extension in intent.extensions:
        installed, manifest = there.get(extension.name), manifest_of(extension.source)
        if installed is None or manifest is None:
            continue
        declared = {(it.method, it.path) for it in manifest.endpoints}
        missing = sorted(declared - set(installed.endpoints))
        if missing:
            found.append(
                Finding(
                    "failed",
                    f"{extension.name} answers 404 to what its manifest declares by now",
                    f"run `algaenv up {extension.name}`, which installs the manifest",
                    tuple(f"{method} {path}" for method, path in missing),
                )
            )
    calls = recent_calls(subject)
    unknown = Counter(it for it in calls if it.status == _NO_HANDLER and it.reason)
    found += [_unknown_call(call, count) for call, count in unknown.most_common(_MOST_CALLS)]
    return found or good("no call of the last day was refused as unknown")


def _unknown_call(call: FailedCall, count: int) -> Finding:
    who = call.extension or "an extension"
    times = f"{count} times" if count > 1 else "once"
    summary = f"{call.method} {call.path} of {who} answered 404, {times}: {call.reason}"
    hint = "declare it under `api.endpoints` of the manifest, and run `algaenv up`"
    if "gateway-extension-unknown" in call.reason:
        hint = "call it by its registry id or publisher.name; `algaenv status` shows them"
    elif "gateway-extension-disabled" in call.reason:
        hint = "set `enabled: true` in the spec, and run `algaenv up`"
    return Finding("warning", summary, hint)


def traps(subject: Subject) -> Sequence[Finding]:
    """Handlers that ended without an answer."""
    status = _status(subject)
    if isinstance(status, list):
        return status
    calls = [it for it in recent_calls(subject) if it.reason and it.status >= 500]
    counted = Counter(calls)
    found = []
    for call, count in counted.most_common(_MOST_CALLS):
        who = call.extension or "an extension"
        times = f"{count} times" if count > 1 else "once"
        what = "trapped" if "trap" in call.reason else "failed"
        summary = f"{call.method} {call.path} of {who} {what}, {times}: {call.reason}"
        guest = _guest_lines(subject, call)
        hint = "read what the handler wrote last; `algaenv call EXT PATH -v` shows all of it"
        found.append(Finding("warning", summary, hint, guest))
    return found or good("no handler failed in the last day")


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A call that the gateway refused or that failed; `reason` begins with a problem code."""

    method: str
    path: str
    extension: str
    status: int
    reason: str


def recent_calls(subject: Subject) -> Sequence[FailedCall]:
    """The calls of handlers in the last day that ended with 400 or more, oldest first."""
    found = []
    for entry in subject.log("gateway", None, time.time() - _RECENT_SECONDS):
        match = _HANDLER.search(str(entry.fields.get("path", "")))
        status = entry.fields.get("status")
        if entry.kind != "request" or not match or not isinstance(status, int) or status < 400:
            continue
        reason = str(entry.fields.get("why") or "")
        found.append(
            FailedCall(
                str(entry.fields.get("method", "")),
                match["path"] or "/",
                entry.extension,
                status,
                reason,
            )
        )
    return found


def _guest_lines(subject: Subject, call: FailedCall) -> tuple[str, ...]:
    entries = subject.log("runner", 200)
    guests: list[LogEntry] = [
        it for it in entries if it.kind == "guest" and call.extension in {"", it.extension}
    ]
    return tuple(entry_text(it) for it in guests[-3:])


def pages(subject: Subject) -> Sequence[Finding]:
    """What the runner serves as pages: blank iframe, extract_failed, archive_hash_mismatch."""
    status = _status(subject)
    if isinstance(status, list):
        return status
    shown = [it for it in status.extensions if it.page_url]
    if not shown:
        return skipped("no extension with a page is installed")
    found = [finding for it in shown for finding in _page(subject, it)]
    return found or good(f"every page is served, and may load what it names ({len(shown)})")


def _page(subject: Subject, extension: ExtensionStatus) -> Iterator[Finding]:
    name, url = extension.name, extension.page_url or ""
    try:
        reply = ProbeClient().probe(url, _PAGE_SECONDS)
    except (OSError, HTTPException) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        hint = f"run `algaenv up`; {_log_hint('runner')}"
        yield Finding("failed", f"the page of {name} does not come: {why}", hint)
        return
    if reply.status != 200:
        yield _page_failure(subject, name, reply)
        return
    text = reply.head.decode(errors="replace")
    source = _source(subject, name)
    warnings = lint(text, "ui/index.html")
    for it in warnings:
        summary = (
            f"the page of {name} may stay blank: {it.file}:{it.line}:{it.column}: {it.summary}"
        )
        yield Finding("warning", summary, it.hint)
    if not warnings and _is_blank(text):
        place = f" ({source.source}/ui/index.html)" if source else ""
        yield Finding(
            "warning",
            f"the page of {name} has neither text nor a script, so its iframe is blank{place}",
            "build the page, or write what it shows into ui/index.html",
        )


def _page_failure(subject: Subject, name: str, reply: HttpReply) -> Finding:
    code = str(reply.fields().get("code", "") or reply.status)
    lines = tuple(
        entry_text(it) for it in subject.log("runner", 50) if it.level in {"error", "warning"}
    )[-3:]
    if code == "archive_hash_mismatch":
        return Finding(
            "failed",
            f"{name}: archive_hash_mismatch: the bundle in the store has other bytes than its "
            "name says",
            f"run `algaenv up {name}`, which uploads it again; only it may write to the bucket",
            lines,
        )
    if code == "extract_failed":
        return Finding(
            "failed",
            f"{name}: extract_failed: the runner cannot fetch or unpack the bundle; it is not in "
            "the store, the store does not answer, or the disk of the runner is full",
            f"run `algaenv up {name}`, which uploads what is missing; {_log_hint('runner')}",
            lines,
        )
    hint = f"run `algaenv up {name}`; {_log_hint('runner')}"
    return Finding("failed", f"the page of {name} answers {reply.status} {code}", hint, lines)


def _is_blank(html: str) -> bool:
    """Whether a page has nothing to show and nothing that would make something."""
    if re.search(
        r"<(?:script|img|svg|iframe|canvas|video|object|embed|input|button)\b", html, re.I
    ):
        return False
    body = re.sub(
        r"<head\b.*?</head>|<style\b.*?</style>|<!--.*?-->|<[^>]*>", "", html, flags=re.I | re.S
    )
    return not body.strip()


def _source(subject: Subject, name: str) -> ExtensionIntent | None:
    intent = subject.intent
    return next((it for it in intent.extensions if it.name == name), None) if intent else None


def menu(subject: Subject) -> Sequence[Finding]:
    """Missing in the sidebar: no menu entry, switched off, or a page for one portal only."""
    intent = subject.intent
    if intent is None or not intent.extensions:
        return skipped("the spec has no extension" if intent else "there is no spec")
    found: list[Finding] = []
    for extension in intent.extensions:
        manifest = manifest_of(extension.source)
        if manifest is None or manifest.ui is None:
            continue
        name = extension.name
        if not extension.enabled:
            found.append(
                Finding(
                    "warning",
                    f"{name} is missing in the sidebar: it is switched off",
                    f"set `extensions.{name}.enabled` to true, and run `algaenv up {name}`",
                )
            )
        elif not manifest.ui.app_menu and not manifest.ui.client_portal_menu:
            found.append(
                Finding(
                    "warning",
                    f"{name} is missing in the sidebar: its manifest names no menu entry",
                    "set `ui.hooks.appMenu.label` in the manifest, and "
                    "`ui.hooks.clientPortalMenu.label` for the client portal",
                )
            )
    return found or good("every page has an entry in a sidebar")


def tenant_product(subject: Subject) -> Sequence[Finding]:
    """Whether the tenant's product runs extensions: without, no sidebar shows one."""
    lock = subject.lock()
    if lock is None or subject.saved is None:
        return skipped(
            "there is no spec"
            if subject.spec is None
            else "the environment has not been brought up"
        )
    status = _status(subject)
    if isinstance(status, list) or _host_is_silent(status):
        return skipped("database or object store do not answer")
    from algaenv.drivers.content_snapshot import ContentSnapshot

    try:
        snapshot = subject.container.content_host(lock).snapshot(lock)
    except AlgaenvError as error:
        return of_problems(error.problems)
    row = snapshot.tenant if isinstance(snapshot, ContentSnapshot) else None
    if row is not None and not row.runs_extensions:
        return [
            Finding(
                "failed",
                f"the tenant {row.name} has the product {row.product}, which has no extensions: "
                "every call is refused, and no sidebar shows one",
                "set `tenants.product_code` of the tenant to `psa`; `algaenv up` does so in a "
                "database of its own",
            )
        ]
    return good("the product of the tenant has extensions")
