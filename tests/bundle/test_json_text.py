import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algaenv.bundle.manifest.json_text import MAX_BYTES, JsonError, JsonPositions, Path, load
from tests.bundle.sources import QUICK

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@QUICK
@given(JSON, st.sampled_from([None, 0, 2, "\t"]), st.booleans())
def test_every_value_is_found_where_it_stands(
    value: Any, indent: int | str | None, ascii: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    loaded = load(text)
    assert (loaded.value, loaded.repeats) == (value, False)
    places = JsonPositions.of(text)
    assert places.repeated == []
    found = {path: json.JSONDecoder().raw_decode(text, at)[0] for path, at in places.values.items()}
    assert found == dict(_walk(value, ()))
    for path, at in places.keys.items():
        assert json.JSONDecoder().raw_decode(text, at)[0] == path[-1]


def _walk(value: Any, path: Path) -> list[tuple[Path, Any]]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [(path, value), *(it for key, item in inner for it in _walk(item, (*path, key)))]


def test_repeated_keys_are_found_at_any_depth() -> None:
    text = '{"a": {"b": 1, "b": 2}, "c": [{"d": 1, "d": {}}], "a": 3}'
    assert load(text).repeats
    assert [path for path, _ in JsonPositions.of(text).repeated] == [
        ("a", "b"),
        ("c", 0, "d"),
        ("a",),
    ]


@QUICK
@given(st.text())
def test_text_is_read_or_refused(text: str) -> None:
    offset = 0
    try:
        load(text)
    except JsonError as refused:
        offset = refused.fault.offset
    assert 0 <= offset <= len(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 65 + "]" * 65])
def test_depth_is_bounded(text: str) -> None:
    with pytest.raises(JsonError) as refused:
        load(text)
    assert refused.value.code == "manifest-nesting"


def test_brackets_in_strings_do_not_nest() -> None:
    text = json.dumps("[" * 100 + '"\\')
    assert load(text).value == json.loads(text)


@pytest.mark.parametrize(
    ("text", "offset", "word"),
    [
        ('{"a": NaN}', 6, "NaN"),
        ('{"a": [1, -Infinity, Infinity]}', 10, "-Infinity"),
        ('{"NaN": "Infinity", "b": Infinity, }', 25, "Infinity"),
        ('{"\\\\\\"": "\\\\", "b": NaN', 20, "NaN"),
    ],
)
def test_numbers_that_are_none_are_found_where_they_stand(
    text: str, offset: int, word: str
) -> None:
    with pytest.raises(JsonError) as refused:
        load(text)
    assert refused.value.fault.offset == text.index(f" {word}") + 1 == offset
    assert refused.value.fault.what == f"{word} is not a JSON value"


@pytest.mark.parametrize("text", ['"' * (1 << 20), '{"' + '\\"' * (1 << 19), "[" * (1 << 20)])
def test_a_text_that_is_not_closed_is_read_once(text: str) -> None:
    """A pass for each of its quotes would take hours."""
    with pytest.raises(JsonError):
        load(text)


def test_a_large_text_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(*args: object, **more: object) -> object:
        raise AssertionError("parsed")

    text = json.dumps({"name": "x" * MAX_BYTES})
    monkeypatch.setattr(json, "loads", loads)
    for each in (text, json.dumps("\u00e9" * (MAX_BYTES // 2), ensure_ascii=False)):
        with pytest.raises(JsonError) as refused:
            load(each)
        assert refused.value.code == "manifest-too-large"
    monkeypatch.undo()
    assert load(json.dumps("x" * (MAX_BYTES - 2))).value == "x" * (MAX_BYTES - 2)
