"""Tests of the notes, run with `pytest`: each has a tenant, and so notes, of its own."""

from __future__ import annotations

import pytest

from algaenv.testing import Response, ScratchTenant


def add(algaenv: ScratchTenant, text: object, user: str | None = None) -> Response:
    note = {"text": text, "at": "2026-01-01T12:00:00Z"}
    return algaenv.call("notes", "POST", "/notes", json=note, user=user)


def test_a_note_is_kept(algaenv: ScratchTenant) -> None:
    added = add(algaenv, "  milk ")
    assert added.status == 201
    (note,) = algaenv.call("notes", "GET", "/notes").json()
    assert (note["text"], note["author"]) == ("milk", "MSP Admin")
    assert added.logs == [f"note {note['id']} added, 1 in all"]
    assert algaenv.storage("notes").get("all") == [note]


def test_the_newest_note_is_first(algaenv: ScratchTenant) -> None:
    for text in ("one", "two"):
        assert add(algaenv, text).ok
    found = algaenv.call("notes", "GET", "/notes").json()
    assert [note["text"] for note in found] == ["two", "one"]


def test_a_note_is_removed(algaenv: ScratchTenant) -> None:
    (note,) = add(algaenv, "milk").json()
    assert algaenv.call("notes", "DELETE", f"/notes/{note['id']}").json() == []
    assert algaenv.storage("notes").get("all") == []


@pytest.mark.parametrize("text", ["", "   ", "x" * 2001, 1, None])
def test_what_is_no_note_is_refused(algaenv: ScratchTenant, text: object) -> None:
    assert add(algaenv, text).status == 400
    assert algaenv.storage("notes").list() == {}


def test_notes_that_were_there_before(algaenv: ScratchTenant) -> None:
    old = {"id": "1", "text": "old", "at": "2025-01-01T12:00:00Z", "author": "somebody"}
    algaenv.storage("notes").put("all", [old])
    assert [note["text"] for note in add(algaenv, "new").json()] == ["new", "old"]


def test_the_page_is_served(algaenv: ScratchTenant) -> None:
    assert "<title>" in algaenv.page("notes").text
