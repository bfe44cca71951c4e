"""The rules that a manifest must pass.

Errors are what the parser of Alga's publish step refuses, and what its database cannot store.
Warnings are what passes there and then does nothing, or not what its author expects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from algaenv.bundle.diagnostics import quoted
from algaenv.bundle.layout import LOCAL_PUBLISHER, slug
from algaenv.bundle.manifest import capabilities
from algaenv.bundle.manifest.fields import FieldReader, JsonReport, dotted, strings_of
from algaenv.bundle.manifest.json_text import Path

KEYS = (
    "name",
    "publisher",
    "version",
    "runtime",
    "capabilities",
    "ui",
    "api",
    "assets",
    "precompiled",
)
HOOKS = ("appMenu", "clientPortalMenu")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")

_LEGACY = {
    "main": "remove it: the handler is always dist/main.wasm",
    "entry": "remove it: the handler is always dist/main.wasm",
    "apiEndpoints": "move its list to api.endpoints",
    "displayName": "remove it: the menu shows ui.hooks.appMenu.label",
    "description": "remove it: nothing shows a description",
    "events": "remove it: Alga delivers no events to extensions",
    "sbom": "remove it: an sbom.spdx.json beside the manifest is packed without being named",
    "settings": "remove it: configuration belongs to an installation, not to the bundle",
    "permissions": "remove it: list what the handler needs in capabilities",
    "$schema": "remove it: point your editor at a schema in its own settings",
}
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_WILDCARD = re.compile(r"[0-9]+\.[0-9]+\.\*")
_ENTRIES = {"index.html", "ui/index.html"}
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def check_manifest(raw: Mapping[str, Any], report: JsonReport) -> None:
    """Apply every rule to the top-level object."""
    rules = _Rules(report)
    rules.texts(raw)
    rules.keys(raw)
    rules.names(raw)
    rules.version(raw)
    rules.runtime(raw)
    rules.capabilities(raw)
    rules.ui(raw)
    rules.api(raw)
    rules.unused(raw)


def normalize_path(path: str) -> str:
    """Spell an endpoint's path as the product stores it."""
    stripped = re.sub(r"^(\./)+", "", path)
    return re.sub(r"/{2,}", "/", f"/{stripped}")


class _Rules:
    def __init__(self, report: JsonReport) -> None:
        self._error = report.error
        self._warn = report.warn
        self._shape = FieldReader(report)

    def texts(self, raw: Mapping[str, Any]) -> None:
        for path, text, at_key in strings_of(raw):
            if found := _UNSTORABLE.search(text):
                self._error(
                    "manifest-text",
                    path,
                    f"cannot store U+{ord(found[0]):04X}: the database takes no such character",
                    "remove it",
                    at_key=at_key,
                )

    def keys(self, raw: Mapping[str, Any]) -> None:
        for key in raw:
            if key not in KEYS:
                self._error(
                    "manifest-unknown-key",
                    (key,),
                    f"cannot publish with {quoted(key)}: the manifest has no such key",
                    _LEGACY.get(key) or _did_you_mean(key, KEYS),
                    at_key=True,
                )

    def names(self, raw: Mapping[str, Any]) -> None:
        name = self._shape.string(raw, "name", required=True, column=True)
        publisher = self._shape.string(raw, "publisher", column=True)
        if "publisher" not in raw:
            self._warn(
                "manifest-publisher-missing",
                (),
                f'cannot publish without a publisher; locally it is "{LOCAL_PUBLISHER}"',
                'add "publisher"; the ids of all rows depend on it',
            )
        if name and re.search(r"[\s/?#%\\]", slug(publisher, name)):
            self._warn(
                "manifest-slug",
                ("name",),
                f"cannot write the slug {quoted(slug(publisher, name))} into a URL as it is",
                "use letters, digits, dots and hyphens in publisher and name",
            )

    def version(self, raw: Mapping[str, Any]) -> None:
        version = self._shape.string(raw, "version", required=True, column=True)
        if version is None:
            return
        if _WILDCARD.fullmatch(version):
            self._warn(
                "manifest-version-wildcard",
                ("version",),
                f"cannot install {quoted(version)} as it is: {version[:-1]}0 takes its place",
                "write the version out; publishing picks the next free patch instead",
            )
        elif not _VERSION.fullmatch(version):
            self._error(
                "manifest-version",
                ("version",),
                f"cannot use {quoted(version)} as version",
                "write X.Y.Z, X.Y.Z-pre or X.Y.Z+build, in numbers",
            )

    def runtime(self, raw: Mapping[str, Any]) -> None:
        runtime = self._shape.string(raw, "runtime", required=True, column=True)
        if runtime and not re.search("[@-]", runtime):
            self._error(
                "manifest-runtime",
                ("runtime",),
                f"cannot use {quoted(runtime)} as runtime",
                'write "wasm-js@1", or "ui-only@1" for an extension without a handler',
            )

    def capabilities(self, raw: Mapping[str, Any]) -> None:
        for path, item in self._shape.strings(raw, "capabilities"):
            wanted = capabilities.normalize(item)
            prefixed = capabilities.PREFIX + wanted
            if wanted in capabilities.KNOWN:
                continue
            if prefixed in capabilities.KNOWN:
                self._warn(
                    "manifest-capability-prefix",
                    path,
                    f'cannot grant {quoted(item)}: Alga drops names without "cap:"',
                    f'write "{prefixed}"',
                )
            else:
                self._warn(
                    "manifest-capability-unknown",
                    path,
                    f"cannot grant {quoted(item)}: Alga knows no such capability and drops it",
                    _did_you_mean(wanted, capabilities.KNOWN),
                )

    def ui(self, raw: Mapping[str, Any]) -> None:
        ui = self._shape.mapping(raw, "ui")
        if ui is None:
            return
        kind = self._shape.string(ui, "type", ("ui",), required=True)
        if kind not in {None, "iframe"}:
            self._error(
                "manifest-ui-type",
                ("ui", "type"),
                f"cannot show a ui of type {quoted(str(kind))}",
                'write "iframe"',
            )
        entry = self._shape.string(ui, "entry", ("ui",), required=True, column=True)
        if entry and self._inside(("ui", "entry"), entry) and _relative(entry) not in _ENTRIES:
            self._warn(
                "manifest-ui-entry",
                ("ui", "entry"),
                f"cannot start at {quoted(entry)}: Alga always opens ui/index.html",
                'write "ui/index.html" and let that page lead on',
            )
        hooks = self._shape.mapping(ui, "hooks", ("ui",)) or {}
        for hook in HOOKS:
            path = ("ui", "hooks", hook)
            found = self._shape.mapping(hooks, hook, path[:-1])
            if found is not None:
                self._shape.string(found, "label", path, required=True)
                self._shape.ignored(found, path, ("label",))
        self._shape.ignored(hooks, ("ui", "hooks"), HOOKS)
        self._shape.ignored(ui, ("ui",), ("type", "entry", "hooks"))

    def api(self, raw: Mapping[str, Any]) -> None:
        api = self._shape.mapping(raw, "api")
        if api is None:
            return
        if "endpoints" not in api:
            self._shape.missing(("api", "endpoints"))
        self._shape.ignored(api, ("api",), ("endpoints",))
        seen: set[tuple[str, str]] = set()
        for index, item in enumerate(self._shape.items(api, "endpoints", ("api",))):
            path = ("api", "endpoints", index)
            if not isinstance(item, dict):
                self._shape.wrong_type(path, item, "an object")
                continue
            address = self._endpoint(item, path)
            if address is None:
                continue
            if address in seen:
                self._error(
                    "manifest-endpoint-twice",
                    path,
                    f"cannot declare {' '.join(address)} twice",
                    "remove one of them",
                )
            seen.add(address)

    def unused(self, raw: Mapping[str, Any]) -> None:
        """Check what the product checks before it forgets it."""
        self._shape.strings(raw, "assets")
        precompiled = self._shape.mapping(raw, "precompiled") or {}
        for key in precompiled:
            self._shape.string(precompiled, key, ("precompiled",))
        for key in ("assets", "precompiled"):
            if key in raw:
                self._shape.no_effect((key,))

    def _endpoint(self, item: Mapping[str, Any], above: Path) -> tuple[str, str] | None:
        """Check one endpoint; return its method and path if both are valid."""
        method = self._method(item, above)
        path = self._shape.string(item, "path", above, required=True)
        if path is not None:
            self._endpoint_path((*above, "path"), path)
        handler = self._shape.string(item, "handler", above, required=True)
        if handler is not None:
            self._inside((*above, "handler"), handler)
        if "schedulable" in item:
            self._warn(
                "manifest-no-effect",
                (*above, "schedulable"),
                "cannot make an endpoint schedulable by saying so: nothing reads it",
                "remove it; every GET or POST without parameters in its path is schedulable",
                at_key=True,
            )
        self._shape.ignored(item, above, ("method", "path", "handler", "schedulable"))
        return (method, normalize_path(path)) if method and path else None

    def _method(self, item: Mapping[str, Any], above: Path) -> str | None:
        written = self._shape.string(item, "method", above, required=True)
        if written is None:
            return None
        method = written.upper()
        if method not in METHODS:
            self._error(
                "manifest-method",
                (*above, "method"),
                f"cannot use {quoted(written)} as method",
                f"write one of {', '.join(METHODS)}",
            )
            return None
        if method == "OPTIONS":
            self._warn(
                "manifest-endpoint-options",
                (*above, "method"),
                "cannot ever call an OPTIONS endpoint: the gateway drops it",
                "declare the methods that the page really calls",
            )
        return method

    def _endpoint_path(self, at: Path, path: str) -> None:
        if re.search(r"\s", path):
            self._error(
                "manifest-path",
                at,
                f"cannot use {quoted(path)} as {dotted(at)}: it holds white space",
                "remove the white space",
            )
        elif self._inside(at, path) and re.search(r"[{}*?#]", path):
            self._warn(
                "manifest-endpoint-pattern",
                at,
                f"cannot match {quoted(path)} as a pattern: only :name stands for a segment",
                "write :name for a parameter, one path for each number of segments, no query",
            )

    def _inside(self, at: Path, value: str) -> bool:
        if ".." not in value:
            return True
        self._error(
            "manifest-path",
            at,
            f'cannot use {quoted(value)} as {dotted(at)}: it holds ".."',
            "write a path inside the bundle",
        )
        return False


def _relative(entry: str) -> str:
    return re.sub(r"^(\./|/)+", "", entry)


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), known, n=1)
    return f'write "{close[0]}"' if close else f"use one of {', '.join(known)}"
