"""Scripts of a package.json, taken apart into the commands that they run one after another."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from algaenv.bundle.value import dataclass

_NOT_A_CHAIN = re.compile(r"[|;<>`$(){}\n\\]|(?<!&)&(?!&)")
_STATEFUL = frozenset({"cd", "export", "set", "source", ".", "pushd", "popd"})
_RUN = re.compile(
    r"(?:(?:npm|pnpm|yarn|bun) run(?:-script)?|pnpm|yarn)(?: (?:-s|--silent))? ([\w:.-]+)"
)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=\S*")
_WRAPPERS = (
    ("npx",),
    ("npm", "exec"),
    ("pnpm", "exec"),
    ("yarn", "exec"),
    ("pnpx",),
    ("cross-env",),
)


@dataclass(frozen=True, slots=True)
class ScriptCommand:
    """One command: the script that it stands in, its text, and its words if it is plain."""

    script: str
    text: str
    words: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        """The name of the program; empty for a command that is not plain."""
        return self.words[0].rpartition("/")[2] if self.words else ""


def commands_of(scripts: Mapping[str, str], name: str) -> list[ScriptCommand]:
    """The commands of a script, with those of the scripts that it runs, in their order."""
    return list(_expand(scripts, name, ()))


def _expand(
    scripts: Mapping[str, str], name: str, above: tuple[str, ...]
) -> Iterator[ScriptCommand]:
    around = [it for it in (f"pre{name}", name, f"post{name}") if it in scripts]
    for script in around:
        for text in _parts(scripts[script]):
            called = _RUN.fullmatch(text)
            if called and called[1] in scripts and called[1] not in (*above, script):
                yield from _expand(scripts, called[1], (*above, script))
            else:
                yield ScriptCommand(script, text, _words(text))


def _parts(text: str) -> list[str]:
    """The commands of a chain of `&&`; anything else is one command of the shell."""
    text = text.strip()
    if _NOT_A_CHAIN.search(text):
        return [text]
    try:
        lexer = shlex.shlex(text, posix=False, punctuation_chars=True)
        lexer.whitespace_split = True
        operators = list(lexer).count("&&")
    except ValueError:
        return [text]
    parts = [part.strip() for part in text.split("&&")]
    if operators != len(parts) - 1 or any(part.split(" ")[0] in _STATEFUL for part in parts):
        return [text]
    return [part for part in parts if part]


def _words(text: str) -> tuple[str, ...]:
    if _NOT_A_CHAIN.search(text) or "&&" in text:
        return ()
    try:
        words = shlex.split(text)
    except ValueError:
        return ()
    while words:
        wrapper = next((it for it in _WRAPPERS if tuple(words[: len(it)]) == it), None)
        if wrapper is not None:
            words = words[len(wrapper) :]
            while words and words[0].startswith("-"):
                words = words[1:]
        elif _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        else:
            break
    return tuple(words)


def option(words: Sequence[str], *names: str) -> str | None:
    """The value of an option, `--name value` or `--name=value`; None where it is not given."""
    for index, word in enumerate(words):
        for name in names:
            if word == name and index + 1 < len(words):
                return words[index + 1]
            if word.startswith(f"{name}="):
                return word.removeprefix(f"{name}=")
    return None
