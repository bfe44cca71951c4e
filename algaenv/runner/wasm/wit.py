"""WIT: types as plain objects that can be compared, and the world `alga:extension/runner`.

Values in Python, in both directions: record: `dict` with names in snake_case; option: None or the
value; enum: its name as in WIT (`not-allowed`); list: `list`; list<u8>: `bytes`; tuple: `tuple`;
char, string: `str`; result<T, E>: the value, or an `Err`, and None for an absent T.

Components are linked by structure. The world says what this runner's functions take and return, so
that a component built for an older or newer version of it can be told from one that no value of
ours would fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

MAX_TYPES = 5_000
"""Types a function may be made of. Those of the world have fewer than sixty; a component may
nest records so that writing them out would take for ever."""


@dataclass(frozen=True, slots=True)
class Primitive:
    """`string`, `u16`, `f64` and the like."""

    name: str


@dataclass(frozen=True, slots=True)
class ListOf:
    """list<T>."""

    item: WitType


@dataclass(frozen=True, slots=True)
class OptionOf:
    """option<T>."""

    some: WitType


@dataclass(frozen=True, slots=True)
class ResultOf:
    """result<T, E>; either may be absent."""

    ok: WitType | None
    err: WitType | None


@dataclass(frozen=True, slots=True)
class TupleOf:
    """tuple<…>."""

    items: tuple[WitType, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """Names as in WIT, in their order."""

    fields: tuple[tuple[str, WitType], ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """Cases with or without something in them."""

    cases: tuple[tuple[str, WitType | None], ...]


@dataclass(frozen=True, slots=True)
class Enum:
    """One of these names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flags:
    """Any of these names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnsupportedType:
    """What this runner has no value for: resources, streams, futures."""

    name: str


WitType: TypeAlias = (
    Primitive
    | ListOf
    | OptionOf
    | ResultOf
    | TupleOf
    | Record
    | Variant
    | Enum
    | Flags
    | UnsupportedType
)


@dataclass(frozen=True, slots=True)
class Signature:
    """Of a function: its parameters in order, and what it returns."""

    parameters: tuple[tuple[str, WitType], ...]
    result: WitType | None


class TypeTooLarge(Exception):
    """The types of a function exceed MAX_TYPES."""


def signature(function: Any, /) -> Signature:
    """Return the signature of a `wasmtime.component.FuncType`. Raises TypeTooLarge."""
    reader = _TypeReader()
    parameters = tuple((name, reader.read(kind)) for name, kind in function.params)
    result = function.result
    return Signature(parameters, None if result is None else reader.read(result))


def describe(shape: WitType | None) -> str:
    """Return the type as WIT has it, records by their fields."""
    match shape:
        case None:
            return "_"
        case Primitive(name) | UnsupportedType(name):
            return name
        case ListOf(item):
            return f"list<{describe(item)}>"
        case OptionOf(some):
            return f"option<{describe(some)}>"
        case ResultOf(ok, err):
            return f"result<{describe(ok)}, {describe(err)}>"
        case TupleOf(items):
            return f"tuple<{', '.join(map(describe, items))}>"
        case Record(fields):
            return f"record {{{', '.join(name for name, _ in fields)}}}"
        case Variant(cases):
            return f"variant {{{', '.join(name for name, _ in cases)}}}"
        case Enum(names):
            return f"enum {{{', '.join(names)}}}"
        case Flags(names):
            return f"flags {{{', '.join(names)}}}"


@dataclass(slots=True)
class _TypeReader:
    """Walks the types of wasmtime, which are asked from the library one by one."""

    remaining: int = field(default=MAX_TYPES)

    def read(self, kind: Any) -> WitType:
        from wasmtime.component import _types as types

        self.remaining -= 1
        if self.remaining < 0:
            raise TypeTooLarge
        match kind:
            case types.ListType():
                return ListOf(self.read(kind.element))
            case types.OptionType():
                return OptionOf(self.read(kind.payload))
            case types.ResultType():
                return ResultOf(self.read_some(kind.ok), self.read_some(kind.err))
            case types.TupleType():
                return TupleOf(tuple(map(self.read, kind.elements)))
            case types.RecordType():
                return Record(tuple((name, self.read(inner)) for name, inner in kind.fields))
            case types.VariantType():
                return Variant(tuple((name, self.read_some(i)) for name, i in kind.cases))
            case types.EnumType():
                return Enum(tuple(kind.names))
            case types.FlagsType():
                return Flags(tuple(kind.names))
            case types.OwnType() | types.BorrowType():
                return UnsupportedType("resource")
            case types.FutureType() | types.StreamType() | types.ErrorContext():
                return UnsupportedType(type(kind).__name__.removesuffix("Type").lower())
            case _:
                return Primitive(type(kind).__name__.lower())

    def read_some(self, kind: Any) -> WitType | None:
        return None if kind is None else self.read(kind)


@dataclass(frozen=True, slots=True)
class Err:
    """The error arm of a result."""

    value: object = None


PACKAGE = "alga:extension/"
SHELL = "algaenv:dev/shell"
"""What only the shell imports: the text of a handler that runs from source."""
HANDLER = "handler"

World = Mapping[str, Mapping[str, Signature]]

_text, _flag = Primitive("string"), Primitive("bool")
_u16, _u32, _u64, _f64 = Primitive("u16"), Primitive("u32"), Primitive("u64"), Primitive("f64")
_octets = ListOf(Primitive("u8"))


def _record(**fields: WitType | str) -> Record:
    """Fields by name; `"text"` and the like are kept short by `_wit_type`."""
    return Record(tuple((name.replace("_", "-"), _wit_type(kind)) for name, kind in fields.items()))


def _wit_type(kind: WitType | str) -> WitType:
    if not isinstance(kind, str):
        return kind
    if kind.startswith("?"):
        return OptionOf(_wit_type(kind[1:]))
    return {"text": _text, "bool": _flag, "u32": _u32, "f64": _f64, "u64": _u64}[kind]


def _func(result: WitType | str | None = None, /, **parameters: WitType | str) -> Signature:
    named = tuple((name.replace("_", "-"), _wit_type(kind)) for name, kind in parameters.items())
    return Signature(named, None if result is None else _wit_type(result))


def _header() -> Record:
    return _record(name="text", value="text")


def _request() -> Record:
    headers = ListOf(_header())
    return _record(method="text", url="text", headers=headers, body=OptionOf(_octets))


def _response() -> Record:
    return _record(status=_u16, headers=ListOf(_header()), body=OptionOf(_octets))


def _context() -> Record:
    return _record(request_id="?text", tenant_id="text", extension_id="text",
                   install_id="?text", version_id="?text")  # fmt: skip


@cache
def handler_signature() -> Signature:
    """The one export."""
    return _func(_response(), request=_record(context=_context(), http=_request()))


@cache
def shell_imports() -> Mapping[str, Signature]:
    """The functions of `SHELL`."""
    return {"source": _func("text")}


@cache
def world_imports() -> World:
    """Functions by interface and name; `types` has none."""
    return {
        "types": {},
        "context": {"get-context": _func(_context())},
        "secrets": _secrets(),
        "http": {"fetch": _func(ResultOf(_response(), Enum((
            "invalid-url", "not-allowed", "transport", "internal"))), request=_request())},
        "storage": _storage(),
        "logging": {f"log-{level}": _func(message="text") for level in ("info", "warn", "error")},
        "ui-proxy": {"call-route": _func(ResultOf(_octets, Enum((
            "route-not-found", "denied", "bad-request", "internal"))),
            route="text", payload=OptionOf(_octets))},
        "user": _user(),
        "user-v2": _user(client_id="?text", additional_fields=ListOf(TupleOf((_text, _text)))),
        "scheduler": _scheduler(),
        "invoicing": _invoicing(),
        "clients": _clients(),
        "services": _services(),
    }  # fmt: skip


def _secrets() -> Mapping[str, Signature]:
    error = Enum(("missing", "denied", "expired", "internal"))
    return {
        "get": _func(ResultOf(_text, error), key="text"),
        "list-keys": _func(ListOf(_text)),
    }


def _storage() -> Mapping[str, Signature]:
    error = Enum(("missing", "conflict", "denied", "internal"))
    entry = _record(namespace="text", key="text", value=_octets, revision="?u64")
    return {
        "get": _func(ResultOf(entry, error), namespace="text", key="text"),
        "put": _func(ResultOf(entry, error), entry=entry),
        "delete": _func(ResultOf(None, error), namespace="text", key="text"),
        "list-entries": _func(ResultOf(ListOf(entry), error), namespace="text", cursor="?text"),
    }


def _user(**more: WitType | str) -> Mapping[str, Signature]:
    user = _record(tenant_id="text", client_name="text", user_id="text", user_email="text",
                   user_name="text", user_type="text", **more)  # fmt: skip
    return {"get-user": _func(ResultOf(user, Enum(("not-available", "not-allowed"))))}


def _scheduler() -> Mapping[str, Signature]:
    error = Enum(("not-found", "validation-failed", "quota-exceeded", "denied", "internal"))
    schedule = _record(
        id="text", endpoint_path="text", endpoint_method="text", name="?text", cron="text",
        timezone="text", enabled="bool", payload="?text", last_run_at="?text",
        last_run_status="?text", last_error="?text", created_at="?text",
    )  # fmt: skip
    endpoint = _record(id="text", method="text", path="text", handler="text", schedulable="bool")
    create = _record(endpoint="text", cron="text", timezone="?text", enabled="?bool",
                     name="?text", payload="?text")  # fmt: skip
    update = _record(endpoint="?text", cron="?text", timezone="?text", enabled="?bool",
                     name="?text", payload="?text")  # fmt: skip
    created = _record(success="bool", schedule_id="?text", error="?text", field_errors="?text")
    updated = _record(success="bool", error="?text", field_errors="?text")
    return {
        "list-schedules": _func(ResultOf(ListOf(schedule), error)),
        "get-schedule": _func(ResultOf(OptionOf(schedule), error), schedule_id="text"),
        "create-schedule": _func(created, input=create),
        "update-schedule": _func(updated, schedule_id="text", input=update),
        "delete-schedule": _func(_record(success="bool", error="?text"), schedule_id="text"),
        "get-endpoints": _func(ResultOf(ListOf(endpoint), error)),
    }


def _invoicing() -> Mapping[str, Signature]:
    item = _record(
        service_id="text", quantity="f64", description="text", rate="f64", is_discount="?bool",
        discount_type=OptionOf(Enum(("percentage", "fixed"))), applies_to_item_id="?text",
        applies_to_service_id="?text",
    )  # fmt: skip
    create = _record(client_id="text", items=ListOf(item), invoice_date="?text",
                     due_date="?text", po_number="?text")  # fmt: skip
    created = _record(
        success="bool", invoice_id="?text", invoice_number="?text", status="?text",
        subtotal="?f64", tax="?f64", total="?f64", error="?text", field_errors="?text",
    )  # fmt: skip
    return {"create-manual-invoice": _func(created, input=create)}


def _page(item: WitType) -> Record:
    return _record(items=ListOf(item), total_count="u32", page="u32", page_size="u32")


def _read_error() -> Enum:
    return Enum(("not-allowed", "invalid-input", "internal"))


def _clients() -> Mapping[str, Signature]:
    client = _record(
        client_id="text", client_name="text", client_type="?text", is_inactive="bool",
        default_currency_code="?text", account_manager_id="?text", account_manager_name="?text",
        billing_email="?text",
    )  # fmt: skip
    wanted = _record(search="?text", include_inactive="?bool", page="?u32", page_size="?u32")
    return {
        "list-clients": _func(ResultOf(_page(client), _read_error()), input=wanted),
        "get-client": _func(ResultOf(OptionOf(client), _read_error()), client_id="text"),
    }


def _services() -> Mapping[str, Signature]:
    kind, billing = Enum(("service", "product")), Enum(("fixed", "hourly", "usage"))
    service = _record(
        service_id="text", service_name="text", item_kind=kind, billing_method=billing,
        service_type_id="?text", service_type_name="?text", default_rate="f64",
        unit_of_measure="text", is_active="bool", sku="?text",
    )  # fmt: skip
    wanted = _record(search="?text", item_kind=OptionOf(kind), is_active="?bool",
                     billing_method=OptionOf(billing), page="?u32", page_size="?u32")  # fmt: skip
    return {
        "list-services": _func(ResultOf(_page(service), _read_error()), input=wanted),
        "get-service": _func(ResultOf(OptionOf(service), _read_error()), service_id="text"),
    }


def mismatches(ours: Signature, theirs: Signature, *, host_calls: bool) -> Iterator[str]:
    """Tell what keeps a function from being called, or from being ours. `host_calls`: it is theirs.

    Parameters go by position, since their names never reach compiled code.
    """
    if len(ours.parameters) != len(theirs.parameters):
        yield f"has {len(theirs.parameters)} parameters, not {len(ours.parameters)}"
        return
    for (name, our), (_, their) in zip(ours.parameters, theirs.parameters, strict=True):
        given, taken = (our, their) if host_calls else (their, our)
        yield from _mismatches(given, taken, name)
    results = (theirs.result, ours.result) if host_calls else (ours.result, theirs.result)
    yield from _arm_mismatches(*results, "result")


def _mismatches(given: WitType, taken: WitType, where: str) -> Iterator[str]:
    """Tell where a value of `given` cannot become one of `taken`."""
    match given, taken:
        case OptionOf(inner), OptionOf(wanted):
            yield from _mismatches(inner, wanted, where)
        case _, OptionOf(wanted):
            yield from _mismatches(given, wanted, where)
        case ListOf(inner), ListOf(wanted):
            yield from _mismatches(inner, wanted, f"{where}[]")
        case ResultOf(), ResultOf():
            yield from _arm_mismatches(given.ok, taken.ok, f"{where}.ok")
            yield from _arm_mismatches(given.err, taken.err, f"{where}.err")
        case TupleOf(items), TupleOf(wanted_items) if len(items) == len(wanted_items):
            for place, pair in enumerate(zip(items, wanted_items, strict=True)):
                yield from _mismatches(*pair, f"{where}.{place}")
        case Record(), Record():
            yield from _field_mismatches(given, taken, where)
        case Enum(names), Enum(wanted_names) if not {*names}.isdisjoint(wanted_names):
            return
        case _ if given != taken or isinstance(taken, UnsupportedType):
            yield f"{where} is {describe(taken)}, not {describe(given)}"


def _arm_mismatches(given: WitType | None, taken: WitType | None, where: str) -> Iterator[str]:
    if given is not None and taken is not None:
        yield from _mismatches(given, taken, where)
    elif given is not taken:
        yield f"{where} is {describe(taken)}, not {describe(given)}"


def _field_mismatches(given: Record, taken: Record, where: str) -> Iterator[str]:
    known = dict(given.fields)
    for name, wanted in taken.fields:
        if name in known:
            yield from _mismatches(known[name], wanted, f"{where}.{name}")
        elif not isinstance(wanted, OptionOf):
            yield f"{where}.{name} is required and nobody gives it"
