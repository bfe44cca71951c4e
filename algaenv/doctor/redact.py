"""Takes secrets out of texts that leave this machine: known values, and what looks like one.

Known are the secrets of spec and environment, and the values of variables. What only looks like a
secret is hidden too: rather a word too many than one too few.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from algaenv.bundle.value import field_names, is_dataclass
from algaenv.model.intent import Intent
from algaenv.model.secret import Secret
from algaenv.model.secret_mask import MASK, SecretMask, secrets_in

_LONGEST_LINE: Final = 4_000
_SHORTEST_VALUE: Final = 8
"""Characters of a value that is hidden wherever it stands, though nothing calls it a secret."""
_WORDS: Final = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|"
    r"auth(?!or\b|ors\b)|credential|cookie|session|signature|dsn"
)
_NAME: Final = re.compile(rf"(?i){_WORDS}|(?:^|[-_.])(?:key|sig|pin)$")
_CONTAINERS: Final = frozenset(
    ("environment", "env", "headers", "config", "secrets", "body", "args", "additional_fields")
)
"""Keys of the spec below which values are the author's own."""
_PATTERNS: Final = (
    (re.compile(r"(?s)-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END|\Z)"), MASK),
    (re.compile(r"(?i)([a-z][a-z0-9+.-]{1,20}://)[^\s/@\"']{1,500}@"), rf"\1{MASK}@"),
    (
        re.compile(
            r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]{0,30}(?:key|auth|token))"
            r"([\"']?\s{0,3}[:=]\s{0,3}[\"']?)[^\r\n\"']+"
        ),
        rf"\1\2{MASK}",
    ),
    (re.compile(r"(?i)\b(bearer|basic|digest)\s+[A-Za-z0-9+/._~=-]{6,}"), rf"\1 {MASK}"),
    (
        re.compile(
            rf"(?i)([\w.-]{{0,40}}(?:{_WORDS})[\w.-]{{0,40}}[\"']?\s{{0,3}}[:=]\s{{0,3}})"
            r"(?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|\{[^{}]*\}|[^\s,;&})\]\"'{\[]+)"
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(?i)([?&][\w.-]{0,40}(?:sig|key|code)=)[^\s&\"']+"), rf"\1{MASK}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"), MASK),
    (
        re.compile(
            r"\b(?:AKIA[A-Z0-9]{12,}|gh[pousr]_\w{16,}|xox[abp]-[\w-]{10,}|[sr]k_\w{10,}"
            r"|sk-[\w-]{16,}|glpat-[\w-]{10,})"
        ),
        MASK,
    ),
)
_YAML_LINE: Final = re.compile(r"^(\s*(?:- )*)([\"']?)([\w.-]+)\2(\s*:)(?:\s+(.*))?$")


class Redactor:
    """Hides secrets in texts; `known` are values to hide wherever they stand."""

    def __init__(self, known: Sequence[Secret]) -> None:
        self._mask = SecretMask(known)

    def text(self, text: str) -> str:
        """The text without secrets; what a line has beyond 4,000 characters is left out."""
        # First, since a value that is cut would not be known.
        shown = self._mask.text(text)
        shown = "\n".join(
            it if len(it) <= _LONGEST_LINE else f"{it[:_LONGEST_LINE]} ... (cut)"
            for it in shown.split("\n")
        )
        for pattern, replacement in _PATTERNS:
            shown = pattern.sub(replacement, shown)
        return shown

    def spec(self, text: str) -> str:
        """The text of a spec, valid or not: values of the author's own are left out as a whole."""
        lines: list[str] = []
        hidden: int | None = None
        for line in text.splitlines():
            indent = len(line) - len(line.lstrip())
            if hidden is not None and (indent > hidden or not line.strip()):
                continue
            hidden = None
            match = _YAML_LINE.match(line)
            if match and (is_secret_name(match[3]) or match[3] in _CONTAINERS):
                hidden = len(match[1])
                lines.append(f"{match[1]}{match[3]}: {MASK}")
            else:
                lines.append(_FLOW.sub(rf"\1 {MASK}", line))
        return self.text("\n".join(lines) + "\n")


_FLOW: Final = re.compile(
    rf"([\"']?\b(?:{'|'.join(sorted(_CONTAINERS))})[\"']?\s{{0,3}}:)\s{{0,3}}(?:\{{.*|\[.*)$"
)


def is_secret_name(name: str) -> bool:
    """Whether the value of a key or a variable with this name is likely a secret."""
    return _NAME.search(name) is not None


def known_secrets(
    intents: Sequence[Intent], more: object, environ: Mapping[str, str], dotenv: Path | None
) -> Sequence[Secret]:
    """Values to hide: secrets of `intents` and `more`, and of variables that look like one."""
    found = [*secrets_in(tuple(intents)), *secrets_in(more)]
    for intent in intents:
        found += [Secret(it) for it in _own_values(intent) if len(it) >= _SHORTEST_VALUE]
    found += [Secret(value) for name, value in environ.items() if is_secret_name(name)]
    found += [Secret(it) for value in environ.values() for it in _password(value)]
    found += [Secret(it) for it in _dotenv_values(dotenv) if len(it) >= _SHORTEST_VALUE]
    return found


def _own_values(intent: Intent) -> Iterator[str]:
    """Texts of the spec that are the author's own, and that nothing says are no secrets."""
    places: list[Any] = [intent.runner.environment]
    for extension in intent.every_extension:
        places += [extension.config]
        places += [getattr(it, "headers", {}) for it in extension.checks]
        places += [getattr(it, "body", None) for it in extension.checks]
        if extension.build is not None:
            places += [extension.build.environment]
            places += [it.environment for it in extension.build.steps]
    for place in places:
        yield from _texts(place)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for each in value.values():
                yield from _texts(each)
        case list() | tuple():
            for each in value:
                yield from _texts(each)


def _password(value: str) -> Iterator[str]:
    try:
        found = urlsplit(value).password if "://" in value else None
    except ValueError:
        return
    if found:
        yield found


def _dotenv_values(path: Path | None) -> Iterator[str]:
    if path is None:
        return
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, separator, value = line.partition("=")
        if separator:
            yield value.strip().strip("\"'")


def plain(value: Any) -> Any:
    """A value of the model as JSON has it; secrets, and what is the author's own, are `***`."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Secret():
            return MASK
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case _ if is_dataclass(value):
            return {
                name: MASK if name in _CONTAINERS and getattr(value, name) else plain(it)
                for name in field_names(value)
                for it in [getattr(value, name)]
            }
        case _:
            return str(value)
