"""Warns of what a browser will refuse to load or run in a page served by Alga's runner.

The runner sends a content security policy that allows the bundle's own files, inline styles and
`data:` images. A page that breaks it works when opened from disk and fails in the product. So does
a page that refers to a file that is not in the bundle: the runner answers with the page itself.
Only the HTML is read, no scripts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from algaenv.bundle.diagnostics import Diagnostic, escape_unprintable, quoted
from algaenv.bundle.names import casefold_path

_RUNNING = re.compile(
    r"|module|importmap|speculationrules|.*(java|ecma|j|live)script.*", re.IGNORECASE
)
_STYLE_URL = re.compile(r"(?:url\(\s*[\"']?|@import\s+[\"'])\s*([^\s\"')]+)", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\{\{|\$\{|<%")
_ELSEWHERE = re.compile(r"\s*(https?:)?//", re.IGNORECASE)
_LOADING_LINKS = {
    "apple-touch-icon",
    "icon",
    "manifest",
    "mask-icon",
    "modulepreload",
    "prefetch",
    "preload",
    "stylesheet",
}
_LOADING = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "video": ("src", "poster"),
}

Attributes = list[tuple[str, str | None]]


Missing = Callable[[str], str | None]
"""A hint for a reference to this path of the archive; None when the path is there."""


def lint(
    html: str, file: str, path: str = "ui/index.html", missing: Missing = lambda _path: None
) -> tuple[Diagnostic, ...]:
    """Warn of what the policy blocks, and of files that are not in the bundle.

    `file` is the name of the page in the warnings, `path` its path in the archive.
    """
    page = _Page(file, path, missing)
    try:
        page.feed(html)
        page.close()
    except AssertionError:
        # The standard parser gives up like this on malformed <![…]> sections; browsers do not.
        pass
    return tuple(page.warnings)


class _Page(HTMLParser):
    def __init__(self, file: str, path: str, missing: Missing) -> None:
        super().__init__()
        self.warnings: list[Diagnostic] = []
        self._file = file
        self._base = f"/{path}"
        self._missing = missing
        self._script_at: tuple[int, int] | None = None
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "base" and "href" in values:
            self._base = urljoin(self._base, values["href"].strip())
        self._in_style = tag == "style"
        if tag == "script" and "src" not in values and _runs(values.get("type", "")):
            self._script_at = self.getpos()
        for name, value in values.items():
            if name.startswith("on"):
                self._warn_inline(f'the inline handler {name}="…"', self.getpos())
            if value.strip().lower().startswith("javascript:"):
                self._warn_inline(f'the script in {name}="…"', self.getpos())
        if tag == "link" and not _LOADING_LINKS & set(values.get("rel", "").lower().split()):
            return
        for name in _LOADING.get(tag, ()):
            for url in _urls(name, values.get(name, "")):
                self._check_url(url)
        if "style" in values:
            self._check_style(values["style"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script_at = None
        elif tag == "style":
            self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._script_at and data.strip():
            self._warn_inline("the inline script", self._script_at)
            self._script_at = None
        if self._in_style:
            self._check_style(data)

    def _check_style(self, style: str) -> None:
        for match in _STYLE_URL.finditer(style):
            self._check_url(match[1])

    def _check_url(self, url: str) -> None:
        if _ELSEWHERE.match(url):
            self._warn(
                "source-csp",
                f"cannot load {quoted(url.strip())}: the page may load its own files only",
                "copy the file into ui/ and refer to it by a relative path",
                self.getpos(),
            )
        elif url.strip().startswith("/"):
            self._warn(
                "source-absolute-url",
                f"cannot find {quoted(url.strip())}: the page is not served from the root",
                'write a relative path (Vite: set base to "./")',
                self.getpos(),
            )
        elif (path := _inside(self._base, url)) is not None:
            hint = self._missing(path)
            if hint is not None:
                what = path if path.startswith("ui/") else f"{path or 'anything'} outside of ui/"
                self._warn(
                    "source-reference",
                    f"cannot load {quoted(url.strip())}: there is no {what} in the bundle",
                    hint,
                    self.getpos(),
                )

    def _warn_inline(self, what: str, at: tuple[int, int]) -> None:
        self._warn(
            "source-csp",
            f"cannot run {what}: the page may run scripts from its own files only",
            "move it into a .js file beside the page",
            at,
        )

    def _warn(self, code: str, summary: str, hint: str, at: tuple[int, int]) -> None:
        line, offset = at
        self.warnings.append(
            Diagnostic(
                code, escape_unprintable(summary), hint, self._file, line, offset + 1, "warning"
            )
        )


def _inside(base: str, url: str) -> str | None:
    """The path in the archive that a relative reference means; None when it means no file of it."""
    bare = url.strip().partition("#")[0].partition("?")[0]
    if not bare or _SCHEME.match(bare) or _PLACEHOLDER.search(bare):
        return None
    try:
        found = urlsplit(urljoin(base, bare))
    except ValueError:
        return None
    return None if found.scheme or found.netloc else unquote(found.path).lstrip("/")


def _runs(script_type: str) -> bool:
    return _RUNNING.fullmatch(script_type.strip()) is not None


def _urls(attribute: str, value: str) -> list[str]:
    if attribute != "srcset" or "data:" in value:
        return [value]
    return [candidate.strip().split(" ")[0] for candidate in value.split(",")]


_PACKAGE = "package.json"
_FROM_SOURCE = (".ts", ".tsx", ".jsx", ".mts", ".scss", ".sass", ".less", ".vue", ".svelte")
_BUILDING = ("build", "bundle", "compile", "prepare", "dist")


def missing_file_hint(source: Path, path: str, packed: Collection[str]) -> str:
    """A hint for a reference to `path`, which is not among the `packed` paths of the archive."""
    if any(part.startswith(".") for part in path.split("/")):
        return "hidden names are left out of a bundle: rename it, without a dot in front"
    like = next((it for it in sorted(packed) if casefold_path(it) == casefold_path(path)), None)
    if like is not None:
        return f"it is spelled {like}"
    if not path.startswith("ui/"):
        return "move it into ui/, which is all that is served"
    script = _script(_scripts(source), path)
    if script is not None:
        return (
            f"`npm run {script}` in {_PACKAGE} would build it: run it, or set"
            f" `build: npm run {script}` in the spec"
        )
    return "add the file, build it, or correct the reference"


def _scripts(source: Path) -> Mapping[str, str]:
    try:
        found = json.loads((source / _PACKAGE).read_text("utf-8"))["scripts"]
        return {name: str(command) for name, command in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _script(scripts: Mapping[str, str], path: str) -> str | None:
    """The script that speaks of the file, else the one whose name says that it builds the page."""
    name = path.rpartition("/")[2]
    stem = name.partition(".")[0]
    sources = tuple(f"{stem}{ending}" for ending in _FROM_SOURCE)
    for wanted in ((path.removeprefix("ui/"), name), sources):
        for script, command in scripts.items():
            if any(it in command for it in wanted):
                return script
    named = [it for prefix in _BUILDING for it in scripts if it.startswith(prefix)]
    pages = [it for it in named if "ui" in it.replace("-", ":").split(":")]
    return next(iter([it for it in named if it == "build"] or pages or named), None)
