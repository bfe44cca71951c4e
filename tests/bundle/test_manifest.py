import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algaenv.bundle.diagnostics import LineIndex, format_diagnostics, has_errors
from algaenv.bundle.manifest import fields
from algaenv.bundle.manifest.model import (
    Endpoint,
    Manifest,
    ManifestError,
    ParsedManifest,
    Ui,
    parse,
)
from algaenv.bundle.manifest.rules import KEYS
from tests.bundle.sources import QUICK

PAIRS = sorted((Path(__file__).parent / "manifests").glob("*.json"))


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_diagnostics_are_exactly(path: Path) -> None:
    text = path.read_bytes().decode()
    expected = path.with_suffix(".err").read_text(encoding="utf-8")
    try:
        diagnostics = parse(text, path.name).warnings
        assert not has_errors(diagnostics)
    except ManifestError as error:
        diagnostics = error.diagnostics
        assert has_errors(diagnostics)
    assert format_diagnostics(diagnostics) == expected.rstrip("\n")


def test_every_pair_is_complete() -> None:
    assert PAIRS
    errors = {path.stem for path in PAIRS[0].parent.glob("*.err")}
    assert errors == {path.stem for path in PAIRS}


def parsed(**raw: Any) -> ParsedManifest:
    whole = {"name": "n", "publisher": "p", "version": "1.2.3", "runtime": "wasm-js@1", **raw}
    return parse(json.dumps(whole))


def test_values_are_stored_as_publishing_stores_them() -> None:
    manifest = parsed(
        version="1.2.3-rc.1+b2",
        capabilities=[" CAP:HTTP.fetch ", "cap:user.read", "cap:http.fetch", "nonsense"],
        ui={
            "type": "iframe",
            "entry": "/ui/index.html",
            "hooks": {"appMenu": {"label": " Menu ", "icon": "x"}, "other": {}},
            "routes": [],
        },
        api={
            "endpoints": [
                {"method": "get", "path": "././a//:id", "handler": "h/a", "schedulable": True},
                {"method": "Post", "path": "/a/:id/", "handler": "h/b"},
            ]
        },
    ).manifest
    assert manifest == Manifest(
        name="n",
        publisher="p",
        version="1.2.3-rc.1+b2",
        runtime="wasm-js@1",
        capabilities=(" CAP:HTTP.fetch ", "cap:user.read", "cap:http.fetch", "nonsense"),
        ui=Ui("/ui/index.html", "Menu", None),
        endpoints=(Endpoint("GET", "/a/:id", "h/a"), Endpoint("POST", "/a/:id/", "h/b")),
    )
    assert manifest.ui_row() == {
        "type": "iframe",
        "entry": "/ui/index.html",
        "hooks": {"appMenu": {"label": "Menu"}},
    }
    assert manifest.endpoints_rows() == [
        {"method": "GET", "path": "/a/:id", "handler": "h/a"},
        {"method": "POST", "path": "/a/:id/", "handler": "h/b"},
    ]
    assert manifest.main_entry() == "/ui/index.html"
    assert manifest.known_capabilities() == ("cap:http.fetch", "cap:user.read")
    assert manifest.providers() == (
        "cap:http.fetch",
        "cap:user.read",
        "cap:context.read",
        "cap:log.emit",
    )
    assert manifest.raw["version"] == "1.2.3-rc.1+b2"


def test_a_manifest_of_the_required_keys_only() -> None:
    found = parse('{"name": "n", "version": "0.3.*", "runtime": "wasm-js@1"}')
    manifest = found.manifest
    assert (manifest.publisher, manifest.version) == ("local-dev", "0.3.0")
    assert manifest.raw["version"] == "0.3.*"
    assert (manifest.ui_row(), manifest.endpoints_rows()) == (None, [])
    assert manifest.main_entry() == "main"
    assert manifest.providers() == ("cap:context.read", "cap:log.emit", "cap:user.read")
    assert [it.code for it in found.warnings] == [
        "manifest-publisher-missing",
        "manifest-version-wildcard",
    ]


def test_a_row_without_labels_has_no_hooks() -> None:
    manifest = parsed(ui={"type": "iframe", "entry": "index.html", "hooks": {}}).manifest
    assert manifest.ui_row() == {"type": "iframe", "entry": "index.html"}


def test_both_menus() -> None:
    hooks = {"clientPortalMenu": {"label": "B"}, "appMenu": {"label": "A"}}
    manifest = parsed(ui={"type": "iframe", "entry": "index.html", "hooks": hooks}).manifest
    assert manifest.ui == Ui("index.html", "A", "B")
    row = manifest.ui_row()
    assert row is not None
    assert row["hooks"] == hooks


def test_manifests_are_hashable_values() -> None:
    assert len({parsed().manifest, parsed(assets=[]).manifest}) == 1


NAMES = st.sampled_from(
    [
        *KEYS,
        "main",
        "type",
        "entry",
        "hooks",
        "appMenu",
        "label",
        "endpoints",
        "method",
        "path",
        "handler",
        "schedulable",
    ]
) | st.text(max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)


@QUICK
@given(st.dictionaries(NAMES, VALUES, max_size=9).map(json.dumps) | st.text())
def test_anything_is_judged_and_nothing_else_raised(text: str) -> None:
    try:
        diagnostics = parse(text, "m").warnings
    except ManifestError as error:
        diagnostics = error.diagnostics
        assert has_errors(diagnostics)
    for diagnostic in diagnostics:
        assert diagnostic.summary.startswith("cannot ")
        assert diagnostic.hint
        assert str(diagnostic).encode()
        assert diagnostic.line
        assert diagnostic.column
        assert diagnostic.line <= text.count("\n") + 1


@QUICK
@given(st.text("a\n\u00e9"), st.data())
def test_a_place_is_what_counting_gives(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    before = text[:offset]
    assert LineIndex(text).position(offset) == (
        before.count("\n") + 1,
        len(before.rpartition("\n")[2]) + 1,
    )


def test_lines_are_found_once_for_many_complaints(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(text: str) -> LineIndex:
        made.append(text)
        return LineIndex(text)

    monkeypatch.setattr(fields, "LineIndex", counted)
    text = "{\n" + ",\n".join(f'"key{number}": 1' for number in range(2000)) + "\n}"
    with pytest.raises(ManifestError) as caught:
        parse(text)
    unknown = [it for it in caught.value.diagnostics if it.code == "manifest-unknown-key"]
    assert [(it.line, it.column) for it in unknown] == [(number + 2, 1) for number in range(2000)]
    assert len(made) == 1
