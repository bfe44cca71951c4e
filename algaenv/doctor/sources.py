"""Checks of the spec and of what its builds need."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from algaenv.bundle.manifest.model import Manifest, ManifestError, parse
from algaenv.doctor.finding import Finding, good, of_problem, of_problems, skipped
from algaenv.doctor.subject import Subject
from algaenv.drivers.build.detection.detect import detect_build
from algaenv.drivers.build.toolchain import ask_version, programs_of
from algaenv.model.intent import BuildStep, ExternalDatabase, Intent
from algaenv.model.problem import AlgaenvError, Problem, ResolveError, SpecError, Where
from algaenv.scaffold.spec_text import SCHEMA_LINE
from algaenv.system.files import write_atomic

_VERSION_SECONDS: Final = 5.0
_KNOWN: Final = ("node", "npm", "cargo", "go", "tinygo", "jco", "componentize-py")
_INSTALL: Final[Mapping[str, str]] = {
    "node": "install Node.js 20 or newer from https://nodejs.org",
    "npm": "install Node.js 20 or newer from https://nodejs.org, which has npm",
    "cargo": "install Rust from https://rustup.rs",
    "rustc": "install Rust from https://rustup.rs",
    "cargo-component": "run cargo install cargo-component",
    "componentize-py": "install it with pip install componentize-py",
    "go": "install Go from https://go.dev/dl",
    "tinygo": "install TinyGo from https://tinygo.org/getting-started/install",
    "jco": "run npm install --save-dev @bytecodealliance/jco in the source",
}
_OLDEST_NODE: Final = 18
_SCHEMA: Final = re.compile(
    r"^#\s*yaml-language-server:\s*\$schema=(\S+)[ \t]*(?=\r?$)", re.MULTILINE
)


def spec(subject: Subject) -> Sequence[Finding]:
    """Whether the spec can be read; every error with its place."""
    if subject.spec is None:
        return skipped("there is no spec")
    try:
        intent, warnings = subject.loaded()
    except SpecError as error:
        return [*of_problems(error.problems), *of_problems(error.warnings, "warning")]
    count = len(intent.extensions)
    noun = "extension" if count == 1 else "extensions"
    valid = good(f"{subject.spec} is valid ({intent.name}, {count} {noun})")
    return [*of_problems(warnings, "warning"), *valid]


def schema_line(subject: Subject) -> Sequence[Finding]:
    """The first line of the spec, by which editors find the schema."""
    if subject.spec is None:
        return skipped("there is no spec")
    try:
        text = subject.spec.read_bytes().decode("utf-8")
    except (OSError, ValueError):
        return skipped("the spec cannot be read")
    file, found = subject.spec, _SCHEMA.search(text)
    if found is None:
        return [
            Finding(
                "warning",
                "no line of the spec names its schema, so editors check and complete nothing",
                f"write as its first line: {SCHEMA_LINE}",
                repair=lambda: _write_schema_line(file),
            )
        ]
    named = found[1]
    if named.startswith(("http://", "https://")):
        if found[0].rstrip() == SCHEMA_LINE or "/algaenv.schema.json" in named:
            return good("editors find the schema", named)
        return skipped(f"it names a schema of its own, {named}")
    local = file.parent / named
    try:
        there = json.loads(local.read_text("utf-8"))
    except (OSError, ValueError):
        return [
            Finding(
                "warning",
                f"the spec names a schema that cannot be read: {named}",
                f"write as its first line: {SCHEMA_LINE}",
                repair=lambda: _write_schema_line(file),
            )
        ]
    from algaenv.spec.schema import schema

    if there != json.loads(json.dumps(schema())):
        return [
            Finding(
                "warning",
                f"{named} is the schema of another version of algaenv",
                f"write it anew with `algaenv schema > {named}`",
            )
        ]
    return good("editors find the schema", named)


def _write_schema_line(file: Path) -> str:
    """Put the line first, or in the place of the one that leads nowhere; nothing else changes."""
    before = file.read_bytes()
    text = before.decode("utf-8")
    newline = "\r\n" if "\r\n" in text else "\n"
    if _SCHEMA.search(text):
        text = _SCHEMA.sub(lambda _: SCHEMA_LINE, text, count=1)
    else:
        text = f"{SCHEMA_LINE}{newline}{text}"
    write_atomic(file.resolve(), text.encode(), mode=file.stat().st_mode & 0o777)
    return f"wrote the line of the schema into {file}"


def manifests(subject: Subject) -> Sequence[Finding]:
    """Whether the manifests can be installed: the commonest reason for a failed install."""
    intent = subject.intent
    if intent is None or not intent.extensions:
        return skipped("the spec has no extension" if intent else "there is no spec")
    found: list[Finding] = []
    for extension in intent.extensions:
        file = Path(extension.source) / "manifest.json"
        try:
            parsed = parse(file.read_text("utf-8"), str(file))
        except OSError as error:
            if extension.build is None:
                hint = "correct `source` in the spec, or write the manifest"
                found.append(Finding("failed", f"cannot read {file}: {error.strerror}", hint))
        except ValueError:
            found.append(Finding("failed", f"{file} is not UTF-8", "save it as UTF-8"))
        except ManifestError as error:
            found += [
                of_problem(
                    Problem(
                        it.code, it.summary, it.hint, Where(it.file, it.line or 1, it.column or 1)
                    ),
                    "warning" if it.severity == "warning" else "failed",
                )
                for it in error.diagnostics
            ]
        else:
            found += [
                Finding("warning", f"{it.file}:{it.line}:{it.column}: {it.summary}", it.hint)
                for it in parsed.warnings
            ]
    return found or good("every manifest can be installed")


def manifest_of(source: str) -> Manifest | None:
    """The manifest of a source; None where it has none that is valid."""
    try:
        return parse((Path(source) / "manifest.json").read_text("utf-8")).manifest
    except (OSError, ValueError, ManifestError):
        return None


def tools(subject: Subject) -> Sequence[Finding]:
    """The programs that the builds of the spec need, with their versions."""
    path = subject.environ.get("PATH")
    intent = subject.intent
    if intent is None:
        there = [f"{it}: {version_text(it, path)}" for it in _KNOWN if shutil.which(it, path=path)]
        return good("no spec says what is needed; of the tools of extensions are here", *there)
    needs, found = _needed(intent)
    if not needs and not found:
        return good("no extension is built by other tools")
    lines: list[str] = []
    for name, extensions in sorted(needs.items()):
        if shutil.which(name, path=path) is None:
            summary = f"there is no program {name} on PATH, which builds {', '.join(extensions)}"
            found.append(Finding("failed", summary, _INSTALL.get(name, "install it")))
            continue
        version = version_text(name, path)
        if name == "node" and 0 < _major(version) < _OLDEST_NODE:
            summary = f"Node.js is {version}, and the tools of handlers need {_OLDEST_NODE}"
            found.append(Finding("warning", summary, _INSTALL["node"]))
        if not version:
            summary = f"{name} does not tell its version"
            hint = f"run {name} --version to see why"
            found.append(Finding("warning", summary, hint))
        lines.append(f"{name}: {version}")
    return found or good("every program that builds need is there", *lines)


def _needed(intent: Intent) -> tuple[dict[str, list[str]], list[Finding]]:
    """Program → the extensions that it builds; and builds that cannot be found out."""
    needs: dict[str, list[str]] = {}
    found: list[Finding] = []
    for extension in intent.extensions:
        build = extension.build
        if build is None:
            continue
        steps = build.steps
        if not steps:
            try:
                steps = detect_build(extension, build).steps
            except ResolveError as error:
                found += of_problems(error.problems)
                continue
        for name in dict.fromkeys(it for step in steps for it in _programs(step, extension.source)):
            needs.setdefault(name, []).append(extension.name)
    return needs, found


def _programs(step: BuildStep, source: str) -> Iterator[str]:
    words = re.findall(r"[\w.-]+", " ".join(step.command))
    yield from programs_of(step, Path(source))
    if "npm" in words or "npx" in words:
        yield "npm"
    if "cargo-component" in words or ("cargo" in words and "component" in words):
        yield "cargo-component"


def version_text(name: str, path: str | None) -> str:
    """The first line of what a program says of its version; empty when it does not in time."""
    program = shutil.which(name, path=path)
    return "" if program is None else ask_version(program, name, _VERSION_SECONDS)


def _major(version: str) -> int:
    found = re.search(r"\d+", version)
    return int(found[0]) if found else 0


def tenant(subject: Subject) -> Sequence[Finding]:
    """Whether an external database answers, has Alga's tables, and knows the tenant."""
    lock = subject.lock()
    if lock is None:
        missing = subject.spec is None
        return skipped("there is no spec" if missing else "there is no spec that can be read")
    if not isinstance(lock.intent.database, ExternalDatabase):
        return skipped("the spec names no database of its own")
    from algaenv.drivers.client_environment import libpq_variables
    from algaenv.drivers.content_host import StoreAndDatabase

    try:
        # The store need not be up yet.
        found = StoreAndDatabase(lock, libpq_variables(subject.environ)).find_tenant(lock)
    except AlgaenvError as error:
        return of_problems(error.problems)
    if isinstance(found, Problem):
        return of_problems((found,))
    return good(f"the database knows the tenant {found.name} ({found.id})")
