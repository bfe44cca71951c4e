"""A file of calls: what it may hold, and every mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from algaenv.model.comparison import Call, CallList
from algaenv.model.problem import SpecError
from algaenv.spec.calls import read_calls
from tests.docs.pages import blocks, read


def written(folder: Path, text: str) -> Path:
    path = folder / "calls.yaml"
    path.write_text(text)
    return path


def errors(folder: Path, text: str) -> list[tuple[str, int, int]]:
    with pytest.raises(SpecError) as caught:
        read_calls(written(folder, text), None)
    found = []
    for problem in caught.value.problems:
        assert problem.where is not None, problem
        assert problem.where.file == str(folder / "calls.yaml")
        found.append((problem.code, problem.where.line, problem.where.column))
    return found


GOOD = """\
ignore: [header:etag]
calls:
  - /status
  - HEAD /status?a=1
  - path: /notes
    user: client
    ignore: [body:/items/*/rank]
  - path: /notes
    method: put
    headers: {X-Mode: quick}
    body: {text: [1, null]}
  - {path: /notes, body: plain}
"""


def test_what_a_file_may_hold(tmp_path: Path) -> None:
    assert read_calls(written(tmp_path, GOOD), "msp") == CallList(
        (
            Call("GET", "/status", user="msp"),
            Call("HEAD", "/status?a=1", user="msp"),
            Call("GET", "/notes", user="client", ignore=("body:/items/*/rank",)),
            Call("PUT", "/notes", b'{"text": [1, null]}', "msp", {"x-mode": "quick"}),
            Call("POST", "/notes", b"plain", "msp"),
        ),
        ("header:etag",),
    )


@pytest.mark.parametrize("text", ["- /a", '["/a"]', '{"calls": ["/a"]}', "calls:\n- GET /a"])
def test_a_list_is_a_list_of_calls_and_json_will_do(tmp_path: Path, text: str) -> None:
    assert read_calls(written(tmp_path, text), None).calls == (Call("GET", "/a"),)


BAD = """\
ignore: [time]
cals: []
calls:
  - GET status
  - FETCH /status
  - path: notes
    methd: GET
  - path: /notes
    method: FETCH
    ignore: [body:items]
  - method: GET
  - 5
  - {path: /x, user: "é", headers: {"a b": c, d: "e\\nf"}}
"""


def test_every_mistake_is_reported_at_its_place(tmp_path: Path) -> None:
    assert errors(tmp_path, BAD) == [
        ("spec-choice", 1, 10),
        ("spec-key-unknown", 2, 1),
        ("spec-call", 4, 5),
        ("spec-call", 5, 5),
        ("spec-call", 6, 11),
        ("spec-key-unknown", 7, 5),
        ("spec-choice", 9, 13),
        ("spec-choice", 10, 14),
        ("spec-key-missing", 11, 5),
        ("spec-type", 12, 5),
        ("spec-call", 13, 22),
        ("spec-call", 13, 37),
        ("spec-call", 13, 50),
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ("spec-calls", 1, 1)),
        ("text", ("spec-calls", 1, 1)),
        ("calls: [", ("spec-syntax", 2, 1)),
        ("calls: []", ("spec-text", 1, 8)),
        ("ignore: []", ("spec-key-missing", 1, 1)),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, error: tuple[str, int, int]) -> None:
    assert errors(tmp_path, text) == [error]


def test_the_file_of_the_reference(tmp_path: Path) -> None:
    (block,) = blocks(read("docs/reference/commands.md"), "yml")
    listed = read_calls(written(tmp_path, block.text), None)
    assert [call.method for call in listed.calls] == ["GET", "HEAD", "GET", "POST"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "none", "spec-missing"), (tmp_path, "spec-unreadable")):
        with pytest.raises(SpecError) as caught:
            read_calls(path, None)
        assert [problem.code for problem in caught.value.problems] == [code]
