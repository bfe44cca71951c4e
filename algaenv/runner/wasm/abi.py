"""The C side of wasmtime: the structures of its values, and the functions that are called often.

A value is 32 bytes: its kind, then at byte 8 what it holds or a pointer to that. The engine copies
the values it is given, so these may stand in memory of Python, which frees them whatever happens;
only what a host function returns must be the engine's own, made of ours by one `clone`.

Functions of a microsecond keep the lock of the interpreter, which would cost more to give up and
take again; those that run a guest or touch much memory give it up.
"""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p, string_at
from importlib.metadata import version
from typing import Any

from wasmtime import _ffi as ffi

from algaenv.runner.wasm.engine_config import SUPPORTED

VALUE = 32
"""Bytes of a value; what it holds begins at byte 8."""
ENTRY = 48
"""Bytes of a field of a record: its name (16), then a value."""
SLICE = 64 << 10
"""Elements of a list<u8> converted without a moment in which another thread may run."""
BYTES_HEAD = bytes.__basicsize__ - 1
"""From the address of a `bytes` object to that of its first byte."""


def _check() -> None:
    found = version("wasmtime")
    if not found.startswith(SUPPORTED):
        raise ImportError(f"wasmtime {found} has other structures than {SUPPORTED}x")
    value: Any = ffi.wasmtime_component_val_t
    entry: Any = ffi.wasmtime_component_valrecord_entry_t
    vector: Any = ffi.wasm_byte_vec_t
    union: Any = ffi.wasmtime_component_valunion_t
    result: Any = ffi.wasmtime_component_valresult_t
    variant: Any = ffi.wasmtime_component_valvariant_t
    items: Any = ffi.wasmtime_component_vallist_t
    probe = b"where the bytes of an object are"
    layout = (
        ctypes.sizeof(value),
        value.of.offset,
        ctypes.sizeof(entry),
        entry.val.offset,
        ctypes.sizeof(vector),
        vector.data.offset,
        union.option.size,
        result.val.offset,
        variant.val.offset,
        items.data.offset,
        string_at(id(probe) + BYTES_HEAD, len(probe)),
    )
    if layout != (VALUE, 8, ENTRY, 16, 16, 8, 8, 8, 16, 8, probe):
        raise ImportError(f"wasmtime {found} lays out its values in another way: {layout}")


_check()

_KIND_NAMES = (
    *("bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char"),
    *("string", "list", "record", "tuple", "variant", "enum", "option", "result", "flags"),
)
KINDS: dict[str, int] = {
    name: getattr(ffi, f"WASMTIME_COMPONENT_{name.upper()}").value for name in _KIND_NAMES
}

_keeping_gil = ctypes.PyDLL(str(ffi.filename))
_releasing_gil = ctypes.CDLL(str(ffi.filename))


def _bind(library: Any, name: str, result: Any, *parameters: Any) -> Any:
    function = library[name]
    function.restype, function.argtypes = result, list(parameters)
    return function


Address = c_void_p
HOST_FUNCTION = ctypes.CFUNCTYPE(
    Address, Address, Address, Address, Address, c_size_t, Address, c_size_t
)
DESTRUCTOR = ctypes.CFUNCTYPE(Address, Address, Address, ctypes.c_uint32)
EPOCH = ctypes.CFUNCTYPE(
    Address, Address, Address, ctypes.POINTER(c_uint64), ctypes.POINTER(ctypes.c_uint8)
)

clone = _bind(_keeping_gil, "wasmtime_component_val_clone", None, Address, Address)
clone_large = _bind(_releasing_gil, "wasmtime_component_val_clone", None, Address, Address)
delete = _bind(_keeping_gil, "wasmtime_component_val_delete", None, Address)
delete_large = _bind(_releasing_gil, "wasmtime_component_val_delete", None, Address)

store_new = _bind(_keeping_gil, "wasmtime_store_new", Address, Address, Address, Address)
store_context = _bind(_keeping_gil, "wasmtime_store_context", Address, Address)
store_limits = _bind(_keeping_gil, "wasmtime_store_limiter", None, Address, *[c_int64] * 5)
store_on_epoch = _bind(
    _keeping_gil, "wasmtime_store_epoch_deadline_callback", None, Address, EPOCH, Address, Address
)
store_delete = _bind(_releasing_gil, "wasmtime_store_delete", None, Address)
set_epoch_deadline = _bind(
    _keeping_gil, "wasmtime_context_set_epoch_deadline", None, Address, c_uint64
)
increment_epoch = _bind(_keeping_gil, "wasmtime_engine_increment_epoch", None, Address)

instantiate = _bind(
    _releasing_gil, "wasmtime_component_linker_instantiate", Address, *[Address] * 4
)
get_func = _bind(_keeping_gil, "wasmtime_component_instance_get_func", c_bool, *[Address] * 4)
call = _bind(
    _releasing_gil,
    "wasmtime_component_func_call",
    Address,
    *[Address, Address, Address, c_size_t, Address, c_size_t],
)

add_func = _bind(
    _keeping_gil,
    "wasmtime_component_linker_instance_add_func",
    Address,
    *[Address, c_char_p, c_size_t, HOST_FUNCTION, Address, Address],
)
add_resource = _bind(
    _keeping_gil,
    "wasmtime_component_linker_instance_add_resource",
    Address,
    *[Address, c_char_p, c_size_t, Address, DESTRUCTOR, Address, Address],
)

wasi_new = _bind(_keeping_gil, "wasi_config_new", Address)
wasi_stdout = _bind(_keeping_gil, "wasi_config_set_stdout_file", c_bool, Address, c_char_p)
wasi_stderr = _bind(_keeping_gil, "wasi_config_set_stderr_file", c_bool, Address, c_char_p)
set_wasi = _bind(_keeping_gil, "wasmtime_context_set_wasi", Address, Address, Address)

error_new = _bind(_keeping_gil, "wasmtime_error_new", Address, c_char_p)
_error_delete = _bind(_keeping_gil, "wasmtime_error_delete", None, Address)
_error_message = _bind(_keeping_gil, "wasmtime_error_message", None, Address, Address)
_error_exit = _bind(_keeping_gil, "wasmtime_error_exit_status", c_bool, Address, Address)
_vec_delete = _bind(_keeping_gil, "wasm_byte_vec_delete", None, Address)

Function = ffi.wasmtime_component_func_t
Instance = ffi.wasmtime_component_instance_t


def address(pointer: Any, /) -> int:
    """Return the address that a pointer object of ctypes or wasmtime holds."""
    return ctypes.cast(pointer, Address).value or 0


def take_error(error: int, /) -> tuple[str, int | None]:
    """Return the text of an error and, if a guest ended itself, its exit status; free the error."""
    vec, status = ffi.wasm_byte_vec_t(), c_int()
    try:
        ended = _error_exit(error, ctypes.byref(status))
        _error_message(error, ctypes.byref(vec))
        try:
            text = string_at(vec.data, vec.size).decode("utf-8", "replace") if vec.size else ""
        finally:
            _vec_delete(ctypes.byref(vec))
    finally:
        _error_delete(error)
    return text, status.value if ended else None
