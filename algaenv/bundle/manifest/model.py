"""The manifest of an extension as values, and its parser.

`parse` applies the rules of Alga's publish step and reports all diagnostics at once. The methods of
`Manifest` return the values in the form that the publish step stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from algaenv.bundle.diagnostics import Diagnostic, format_diagnostics, has_errors
from algaenv.bundle.layout import LOCAL_PUBLISHER
from algaenv.bundle.manifest import capabilities, fields, json_text, rules
from algaenv.bundle.manifest.fields import JsonReport
from algaenv.bundle.value import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A handler's address: upper-case method, path with leading slash and `:name` segments."""

    method: str
    path: str
    handler: str


@dataclass(frozen=True, slots=True)
class Ui:
    """The page. A menu label is None where the extension asks for no menu entry."""

    entry: str
    app_menu: str | None = None
    client_portal_menu: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A valid manifest. `raw` is the document as written and takes no part in comparisons."""

    name: str
    publisher: str
    version: str
    runtime: str
    capabilities: tuple[str, ...] = ()
    ui: Ui | None = None
    endpoints: tuple[Endpoint, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def ui_row(self) -> dict[str, Any] | None:
        """The value of `extension_version.ui`: type, entry and the two known hooks."""
        if self.ui is None:
            return None
        labels = {"appMenu": self.ui.app_menu, "clientPortalMenu": self.ui.client_portal_menu}
        hooks = {hook: {"label": label} for hook, label in labels.items() if label is not None}
        row: dict[str, Any] = {"type": "iframe", "entry": self.ui.entry}
        return row | {"hooks": hooks} if hooks else row

    def endpoints_rows(self) -> list[dict[str, str]]:
        """The value of `extension_version.api_endpoints`; the gateway denies all others."""
        return [
            {"method": it.method, "path": it.path, "handler": it.handler} for it in self.endpoints
        ]

    def main_entry(self) -> str:
        """The value of `extension_version.main_entry`, which nothing executes."""
        return self.ui.entry if self.ui else "main"

    def known_capabilities(self) -> tuple[str, ...]:
        """The declared capabilities the product knows, normalised."""
        return capabilities.known(self.capabilities)

    def providers(self) -> tuple[str, ...]:
        """What the handler is granted: the known capabilities, then the missing defaults."""
        return capabilities.effective(self.capabilities)


@dataclass(frozen=True, slots=True)
class ParsedManifest:
    """A valid manifest and its warnings."""

    manifest: Manifest
    warnings: tuple[Diagnostic, ...]


class ManifestError(Exception):
    """The manifest is not valid. `diagnostics` holds all errors and warnings, by position."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__(format_diagnostics(diagnostics))
        self.diagnostics = diagnostics


def parse(text: str, filename: str = "manifest.json") -> ParsedManifest:
    """Parse a manifest; `filename` is its name in diagnostics. Raises ManifestError."""
    report = JsonReport(filename, text)
    raw = _document(report)
    diagnostics = report.diagnostics()
    if has_errors(diagnostics):
        raise ManifestError(diagnostics)
    return ParsedManifest(_built(raw), diagnostics)


def _document(report: JsonReport) -> Mapping[str, Any]:
    try:
        loaded = json_text.load(report.text)
    except json_text.JsonError as unreadable:
        fault = unreadable.fault
        report.at_offset(
            fault.offset, unreadable.code, f"cannot read the manifest: {fault.what}", fault.hint
        )
        return {}
    if loaded.repeats:
        report.repeated_keys()
    if not isinstance(loaded.value, dict):
        kind = fields.type_name(loaded.value)
        report.error(
            "manifest-type",
            (),
            f"cannot read the manifest: it is {kind}, not an object",
            'write an object such as {"name": …}',
        )
        return {}
    rules.check_manifest(loaded.value, report)
    return loaded.value


def _built(raw: Mapping[str, Any]) -> Manifest:
    """Only for a document that passed every rule."""
    version: str = raw["version"]
    return Manifest(
        name=raw["name"],
        publisher=raw.get("publisher", LOCAL_PUBLISHER),
        version=version.replace(".*", ".0"),
        runtime=raw["runtime"],
        capabilities=tuple(raw.get("capabilities", ())),
        ui=_ui(raw["ui"]) if "ui" in raw else None,
        endpoints=tuple(
            Endpoint(it["method"].upper(), rules.normalize_path(it["path"]), it["handler"])
            for it in raw.get("api", {}).get("endpoints", ())
        ),
        raw=raw,
    )


def _ui(raw: Mapping[str, Any]) -> Ui:
    hooks = raw.get("hooks", {})
    app, portal = (hooks[hook]["label"].strip() if hook in hooks else None for hook in rules.HOOKS)
    return Ui(raw["entry"], app, portal)
