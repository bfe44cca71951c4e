"""Values as JavaScript has them; what is expected was computed by Node."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algaenv.gateway.javascript import (
    decode_base64,
    dump_json,
    number_text,
    parse_json,
    stringify,
    to_text,
    well_formed,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1.5, "1.5"),
        (-2.50, "-2.5"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (1.25e-7, "1.25e-7"),
        (0.00001234, "0.00001234"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e21, "1.5e+21"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (100.0, "100"),
        (1234.5678, "1234.5678"),
    ],
)
def test_numbers(number: float, text: str) -> None:
    assert number_text(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back(number: float) -> None:
    assert float(number_text(number)) == number


@pytest.mark.parametrize(
    ("given_", "written"),
    [
        ('{"b":1.0,"10":2,"2":[1e400],"a":null}', '{"2":[null],"10":2,"b":1,"a":null}'),
        ("12345678901234567890", "12345678901234567000"),
        ("1" * 400, "null"),
        (r'"\ud800\u001f\"\u00fc\u2028"', '"\\ud800\\u001f\\"ü\u2028"'),
        ('{"01":1,"4294967295":2,"4294967294":3}', '{"4294967294":3,"01":1,"4294967295":2}'),
        ("[true,false,{}]", "[true,false,{}]"),
    ],
)
def test_json(given_: str, written: str) -> None:
    assert stringify(parse_json(given_)) == written


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "", "1 x", "{'a':1}"])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expecting|Extra data"):
        parse_json(text)


def test_a_number_that_is_too_large_is_infinite() -> None:
    assert parse_json("[1e400,-1e400]") == [math.inf, -math.inf]
    assert dump_json({"a": [math.inf, 1.0], "b": math.nan}) == b'{"a":[null,1],"b":null}'


def test_half_a_pair_is_replaced_in_text_and_escaped_in_json() -> None:
    assert well_formed("a\ud800b\U0001f600") == "a\N{REPLACEMENT CHARACTER}b\U0001f600"
    assert dump_json("\udfff") == b'"\\udfff"'


def test_text() -> None:
    assert to_text([1.0, None, "a", [True, {}]]) == "1,,a,true,[object Object]"
    assert to_text(None) == "null"


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("aGVsbG8=", b"hello"),
        ("aGVsbG8", b"hello"),
        ("aGVs bG8=\n", b"hello"),
        ("!!!not base64", b"\x9e\x8b\x5b\x6a\xc7\xba"),
        ("-_8=", b"\xfb\xff"),
        ("=aGVsbG8=", b""),
        ("x", b""),
        ("é", b""),
    ],
)
def test_base64(text: str, content: bytes) -> None:
    assert decode_base64(text) == content
