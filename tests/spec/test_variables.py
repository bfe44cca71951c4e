"""Variables as users of Compose write them, and the file `.env` beside the spec."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algaenv.model.problem import Problem, SpecError
from algaenv.spec.cache import load_cached
from algaenv.spec.diagnostics import shorten
from algaenv.spec.load import LoadedSpec, load
from algaenv.spec.variables import Expansion

ENVIRON = {"FULL": "full", "EMPTY": "", "OTHER": "other"}


def read(place: Path, text: str, environ: dict[str, str] | None = None) -> LoadedSpec:
    (place / "algaenv.yaml").write_text(text, encoding="utf-8")
    return load(place / "algaenv.yaml", environ or {})


def errors_of(place: Path, text: str, environ: dict[str, str] | None = None) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        read(place, text, environ)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("${FULL}", "full"),
        ("${EMPTY}", ""),
        ("${FULL:-d}", "full"),
        ("${EMPTY:-d}", "d"),
        ("${NONE:-d}", "d"),
        ("${FULL-d}", "full"),
        ("${EMPTY-d}", ""),
        ("${NONE-d}", "d"),
        ("${NONE-}", ""),
        ("${FULL:+a}", "a"),
        ("${EMPTY:+a}", ""),
        ("${NONE:+a}", ""),
        ("${FULL+a}", "a"),
        ("${EMPTY+a}", "a"),
        ("${NONE+a}", ""),
        ("${FULL:?m}", "full"),
        ("${EMPTY?m}", ""),
        ("${NONE:-${OTHER}}", "other"),
        ("${NONE:-a${NONE:-b${FULL}c}d}e", "abfullcde"),
        ("${FULL:-${NONE:?is not needed}}", "full"),
        ("${NONE:+${NONE:?is not needed}}", ""),
        ('${NONE:-{"a": {"b": 1}}}', '{"a": {"b": 1}}'),
        ("${NONE:-a:-b?c+d}", "a:-b?c+d"),
        ("${NONE:-$${FULL}}", "${FULL}"),
        ("$${FULL} $$ $FULL $ }{", "${FULL} $ $FULL $ }{"),
        ("a-${FULL}-${OTHER}", "a-full-other"),
    ],
)
def test_the_forms_of_compose(text: str, meaning: str) -> None:
    expansion = Expansion(text, ENVIRON.get)
    assert expansion.expand() == meaning
    assert not expansion.unset
    assert not expansion.broken


@given(st.text(alphabet="${}:-?+aAB \n", max_size=40))
def test_any_text_comes_to_an_end(text: str) -> None:
    expansion = Expansion(text, {"A": "", "B": "b"}.get)
    filled = expansion.expand()
    if "$" not in text:
        assert filled == text
    assert all(text.startswith("${", at) for at in expansion.broken)


def test_a_message_is_shown_where_the_variable_stands(tmp_path: Path) -> None:
    message = "name the bucket in your shell first"
    (found,) = errors_of(tmp_path, f"name: d\nstore:\n  bucket: a-${{BUCKET:?{message}}}\n")
    assert found.summary == f"cannot fill ${{BUCKET}}: {message}"
    assert found.hint == "set BUCKET in the shell, or in a file .env beside the spec"
    assert found.where is not None
    assert (found.where.line, found.where.column) == (3, 13)
    (found,) = errors_of(tmp_path, "name: ${NAME:?}\n", {"NAME": ""})
    assert found.summary == "cannot fill ${NAME}: the variable is empty"
    (found,) = errors_of(tmp_path, "name: ${NAME?}\n")
    assert found.summary == "cannot fill ${NAME}: the variable is not set"


@pytest.mark.parametrize("text", ["${", "${1}", "${A b}", "${A:", "${A:=b}", "${A:-", "${A:-${B}"])
def test_what_is_no_form_is_named(tmp_path: Path, text: str) -> None:
    found = errors_of(tmp_path, f"name: 'x{text}'\n", {"A": "", "B": ""})
    assert {it.code for it in found} == {"spec-variable-syntax"}
    assert found[0].where is not None
    assert found[0].where.column == 9


@pytest.mark.parametrize("key", ["name", "runtime", "store: {bucket", "extensions: {x"])
def test_a_variable_without_braces_is_named_where_the_value_is_wrong(
    tmp_path: Path, key: str
) -> None:
    end = "}" if "{" in key else ""
    text = f"{'' if key == 'name' else 'name: d'}\n{key}: $NOWHERE{end}\n"
    (found,) = errors_of(tmp_path, text)
    assert found.hint.startswith("write ${NOWHERE} if the variable is meant")


@pytest.mark.parametrize(
    "spec",
    [
        "runner: {environment: %s}",
        "extensions: {x: {source: ., build: {command: a, environment: %s}}}",
    ],
)
def test_a_list_of_variables_as_compose_takes_it(tmp_path: Path, spec: str) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (found,) = errors_of(tmp_path, f"name: d\n{spec % '[A=b c, D]'}\n")
    assert found.hint == "write `A: b c` instead of `- A=b c`"
    (found,) = errors_of(tmp_path, f"name: d\n{spec % '[D]'}\n")
    assert found.hint == "write `D: ${D}` instead of `- D`"


DOTENV = """\
# a comment
NAME=plain   # and another
export OTHER = 'it stands $HOME ${X} #'

QUOTED="a \\"b\\" \\$x\\n${NAME}${SHELL_HAS}"
SHELL_HAS=file
EMPTY=
HASH=a#b
LINES="one
two"
LAST=${NAME}-${EMPTY:-x}-${NOWHERE:-y}"""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NAME", "plain"),
        ("OTHER", "it stands $HOME ${X} #"),
        ("QUOTED", 'a "b" $x\nplainshell'),
        ("SHELL_HAS", "shell"),
        ("EMPTY", ""),
        ("HASH", "a#b"),
        ("LINES", "one\ntwo"),
        ("LAST", "plain-x-y"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_beside_the_spec_is_read(
    tmp_path: Path, name: str, value: str, newline: str
) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / ".env").write_bytes(DOTENV.replace("\n", newline).encode())
    spec = f"name: d\nextensions: {{x: {{source: ., config: {{it: '${{{name}}}'}}}}}}\n"
    loaded = read(tmp_path, spec, {"SHELL_HAS": "shell"})
    assert loaded.intent.extensions[0].config == {
        "it": value.replace("\n", newline) if name == "LINES" else value
    }
    assert not loaded.warnings


def test_lines_of_it_that_cannot_be_read_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=1\n  nonsense here\nB='open\nNAME=n\n")
    loaded = read(tmp_path, "name: ${NAME}\n")
    assert loaded.intent.name == "n"
    assert [(it.code, it.where and it.where.line) for it in loaded.warnings] == [("spec-dotenv", 2)]


def test_no_word_of_it_where_nothing_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("nonsense here\n")
    assert not read(tmp_path, "name: n\n").warnings
    assert not read(tmp_path, "name: ${NAME}\n", {"NAME": "n"}).warnings


def test_one_that_cannot_be_read_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    (warning,) = read(tmp_path, "name: ${NAME:-n}\n").warnings
    assert warning.code == "spec-dotenv"


def test_what_is_kept_follows_the_file(tmp_path: Path) -> None:
    spec, cache = tmp_path / "algaenv.yaml", tmp_path / "cache"
    spec.write_text("name: ${NAME:-none}\n")
    names = []
    for content in (None, "NAME=one", "NAME=two", None):
        (tmp_path / ".env").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / ".env").write_text(content)
        names += [load_cached(spec, {}, cache).intent.name for _ in range(2)]
    assert names == ["none", "none", "one", "one", "two", "two", "none", "none"]
    (tmp_path / ".env").write_text("NAME=file")
    assert load_cached(spec, {"NAME": "shell"}, cache).intent.name == "shell"
    assert load_cached(spec, {}, cache).intent.name == "file"


@given(st.text(alphabet="ab ", max_size=80))
def test_text_is_never_cut_inside_of_a_word_without_a_mark(text: str) -> None:
    short, expand = shorten(text, 20), " ".join(text.split())
    assert len(short) <= 22
    assert short == expand or (short.endswith("…") and expand.startswith(short.rstrip("… ")))
    if " …" in short:
        assert set(short.removesuffix(" …").split()) <= set(expand.split())


@pytest.mark.parametrize(
    ("port", "hint"),
    [
        ("08085", "write 8085, without the zero in front"),
        ("00080", "write 80, without the zeros in front"),
        ("'08085'", "write 8085, without the zero in front"),
        ("'8085'", "take the quotes away"),
        ("010", "write 10, without the zero in front"),
        ("0", ""),
    ],
)
@pytest.mark.parametrize("service", ["store", "redis", "database", "runner", "gateway"])
def test_a_port_with_a_zero_in_front(tmp_path: Path, service: str, port: str, hint: str) -> None:
    (found,) = errors_of(tmp_path, f"name: d\n{service}: {{port: {port}}}\n")
    assert found.hint == hint
