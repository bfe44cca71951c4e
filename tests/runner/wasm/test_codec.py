"""Any value there and back, through a component that returns what it is given."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algaenv.runner.wasm import abi
from algaenv.runner.wasm.engine_config import config
from algaenv.runner.wasm.lift import lifter
from algaenv.runner.wasm.lower import Arena, ConversionError, encode, lowerer
from algaenv.runner.wasm.wit import Err, Signature, signature

from .components import REALLOC

# More than sixteen flat values travel in memory, so the function only hands the pointer back.
ECHO = f"""(component
  (core module $code
    (memory (export "memory") 4) {REALLOC}
    (func (export "echo") (param i32) (result i32) (local.get 0)))
  (core instance $code (instantiate $code))
  (type $e' (enum "first" "second-one"))  (export $e "e" (type $e'))
  (type $f' (flags "a" "b-c" "d"))        (export $f "f" (type $f'))
  (type $v' (variant (case "none") (case "text" string) (case "pair" (tuple u8 f64))))
  (export $v "v" (type $v'))
  (type $i' (record (field "deep-one" (option (option string))) (field "e" $e)))
  (export $i "i" (type $i'))
  (type $r' (record
    (field "flag" bool) (field "c" char) (field "text" string)
    (field "u-eight" u8) (field "u-sixteen" u16) (field "u-thirty" u32) (field "u-sixty" u64)
    (field "s-eight" s8) (field "s-sixteen" s16) (field "s-thirty" s32) (field "s-sixty" s64)
    (field "single" f32) (field "double" f64)
    (field "octets" (list u8)) (field "texts" (list string)) (field "inner" (list $i))
    (field "pairs" (list (tuple string string)))
    (field "both" (result string (error $e))) (field "err" (result (error $e)))
    (field "ok" (result u64)) (field "bare" (result)) (field "maybe" (option (list u8)))
    (field "found" (result (option $i) (error $e)))
    (field "v" $v) (field "f" $f) (field "e" $e)))
  (export $r "r" (type $r'))
  (func (export "echo") (param "it" $r) (result $r)
    (canon lift (core func $code "echo")
      (memory (core memory $code "memory")) (realloc (core func $code "realloc")))))"""

text = st.text(st.characters(exclude_categories=["Cs"]))
enum = st.sampled_from(["first", "second-one"])
inner = st.fixed_dictionaries({"deep_one": st.none() | text, "e": enum})
errors = enum.map(Err)


def integers(sign: str, bits: int) -> st.SearchStrategy[int]:
    low = 0 if sign == "u" else -(2 ** (bits - 1))
    return st.integers(low, low + 2**bits - 1)


RECORDS = st.fixed_dictionaries({
    "flag": st.booleans(), "c": st.characters(exclude_categories=["Cs"]), "text": text,
    "u_eight": integers("u", 8), "u_sixteen": integers("u", 16), "u_thirty": integers("u", 32),
    "u_sixty": integers("u", 64), "s_eight": integers("s", 8), "s_sixteen": integers("s", 16),
    "s_thirty": integers("s", 32), "s_sixty": integers("s", 64),
    "single": st.floats(width=32, allow_nan=False), "double": st.floats(allow_nan=False),
    "octets": st.binary(), "texts": st.lists(text), "inner": st.lists(inner),
    "pairs": st.lists(st.tuples(text, text)),
    "both": text | errors, "err": st.none() | errors,
    "ok": integers("u", 64) | st.just(Err()), "bare": st.none() | st.just(Err()),
    "maybe": st.none() | st.binary(), "found": st.none() | inner | errors,
    "v": st.just(("none", None)) | text.map(lambda t: ("text", t))
    | st.tuples(integers("u", 8), st.floats(allow_nan=False)).map(lambda p: ("pair", p)),
    "f": st.frozensets(st.sampled_from(["a", "b-c", "d"])), "e": enum,
})  # fmt: skip


class Echo:
    """The component, called through the codec alone."""

    def __init__(self) -> None:
        import wasmtime
        from wasmtime.component import Component, Linker

        self.engine = wasmtime.Engine(config())
        self.component = Component(self.engine, ECHO)
        self.linker = Linker(self.engine)
        kind = self.component.type.exports(self.engine)["echo"].ty
        self.signature: Signature = signature(kind)
        shape = self.signature.parameters[0][1]
        self.lower, self.lift = lowerer(shape), lifter(shape)
        self.index = self.component.get_export_index("echo")

    def __call__(self, value: Any) -> Any:
        store = abi.store_new(abi.address(self.engine.ptr()), None, None)
        try:
            context = abi.store_context(store)
            abi.set_epoch_deadline(context, 1)
            instance, function = abi.Instance(), abi.Function()
            assert not abi.instantiate(
                abi.address(self.linker.ptr()), context, abi.address(self.component.ptr()),
                ctypes.byref(instance),
            )  # fmt: skip
            index = abi.address(self.index.ptr()) if self.index else 0
            assert abi.get_func(ctypes.byref(instance), context, index, ctypes.byref(function))
            arena, answer = Arena(), bytearray(abi.VALUE)
            given_ = self.lower(value, arena)
            place = ctypes.addressof(ctypes.c_char.from_buffer(answer))
            error = abi.call(
                ctypes.byref(function), context, id(given_) + abi.BYTES_HEAD, 1, place, 1
            )
            assert not error, abi.take_error(error)
            try:
                return self.lift(bytes(answer), 0)
            finally:
                abi.delete(place)
        finally:
            abi.store_delete(store)


@pytest.fixture(scope="module")
def echo() -> Echo:
    return Echo()


@given(value=RECORDS)
def test_there_and_back(echo: Echo, value: dict[str, Any]) -> None:
    assert echo(value) == value


@given(value=RECORDS)
def test_what_a_host_function_returns_is_copied_whole(echo: Echo, value: dict[str, Any]) -> None:
    arena, copy = Arena(), bytearray(abi.VALUE)
    made = echo.lower(value, arena)
    place = ctypes.addressof(ctypes.c_char.from_buffer(copy))
    for clone in (abi.clone, abi.clone_large):
        clone(id(made) + abi.BYTES_HEAD, place)
        assert echo.lift(bytes(copy), 0) == value
        abi.delete(place)


PLAIN: dict[str, Any] = {
    "flag": True, "c": "x", "text": "", "u_eight": 0, "u_sixteen": 0, "u_thirty": 0, "u_sixty": 0,
    "s_eight": 0, "s_sixteen": 0, "s_thirty": 0, "s_sixty": 0, "single": 0.0, "double": 0.0,
    "octets": b"", "texts": [], "inner": [], "pairs": [], "both": "", "err": None, "ok": 0,
    "bare": None, "maybe": None, "found": None, "v": ("none", None), "f": frozenset(),
    "e": "first",
}  # fmt: skip


def test_not_a_number(echo: Echo) -> None:
    assert math.isnan(echo(PLAIN | {"double": math.nan})["double"])


def test_what_may_stand_for_a_value(echo: Echo) -> None:
    less = {name: value for name, value in PLAIN.items() if name != "maybe"}
    more = less | {"double": 3, "octets": bytearray(b"ab"), "unknown": object()}
    assert echo(more) == PLAIN | {"double": 3.0, "octets": b"ab"}


@pytest.mark.parametrize(("name", "bad"), [
    ("flag", 1), ("flag", None), ("c", "xy"), ("c", "\ud800"), ("text", b"x"), ("text", None),
    ("u_eight", 256), ("u_eight", -1), ("u_eight", True), ("u_eight", 1.0), ("u_sixteen", 70000),
    ("u_sixty", 2**64), ("s_eight", 128), ("s_sixty", -(2**63) - 1), ("single", 1e300),
    ("single", "1"), ("double", 10**400), ("octets", "x"), ("octets", [1]), ("texts", "x"),
    ("texts", ["a", None]), ("inner", [{}]), ("inner", ["x"]), ("pairs", [("a",)]),
    ("both", Err("third")), ("both", None), ("err", Err()), ("err", "x"), ("bare", 1),
    ("found", Err(None)), ("v", "none"), ("v", ("none", 1)), ("v", ("other", 1)), ("f", {"x"}),
    ("f", "a"), ("e", "third"), ("e", []), ("maybe", "x"),
])  # fmt: skip
def test_what_does_not_fit(echo: Echo, name: str, bad: object) -> None:
    with pytest.raises(ConversionError) as caught:
        echo.lower(PLAIN | {name: bad}, Arena())
    assert str(caught.value).startswith(name)


def test_long_lists_are_whole(echo: Echo) -> None:
    octets = bytes(range(256)) * 1024
    assert echo(PLAIN | {"octets": octets})["octets"] == octets


@given(st.text())
def test_any_text_becomes_utf8(value: str) -> None:
    assert len(encode(value).decode()) <= len(value)
