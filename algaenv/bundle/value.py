"""Frozen dataclasses that are cheap to define: a run defines over 160 of them.

To a type checker all names here are those of `dataclasses`, which is what keeps values frozen. At
run time nothing is compiled for a class: an `__init__` is compiled once for each number of fields,
and gets the names of the fields by `CodeType.replace`; equality, hash, order and repr are closures.
`dataclasses` itself, which imports `inspect`, is loaded only when something asks for its own
description of the fields. What a no-op gains is in `docs/decisions/0008-values-defined-at-once.md`.
"""

from __future__ import annotations

import operator
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass, field, is_dataclass, replace
    from typing import Any
else:
    from types import CellType, FunctionType

    _REQUIRED = object()

    class _Field:
        """The options of a field, under the names of `dataclasses.field`."""

        __slots__ = ("options",)

        def __init__(self, options):
            self.options = options

    def field(**options):
        """As `dataclasses.field`: `default`, `default_factory`, `repr` and `compare`."""
        if unknown := options.keys() - {"default", "default_factory", "repr", "compare"}:
            raise TypeError(f"values have no fields with {', '.join(sorted(unknown))}")
        return _Field(options)

    def dataclass(*, slots, frozen=False, order=False):
        """As `dataclasses.dataclass` with slots, except that assignment is not refused."""
        if not slots:
            raise TypeError("values have slots")

        def define(cls):
            content = dict(cls.__dict__)
            content.pop("__dict__", None)
            content.pop("__weakref__", None)
            names = tuple(cls.__annotations__)
            given = [content.pop(name, _REQUIRED) for name in names]
            options = {
                name: one.options
                for name, one in zip(names, given, strict=True)
                if one.__class__ is _Field
            }
            made = _comparisons(_chosen(names, options, "compare"), frozen=frozen, order=order)
            made["__repr__"] = _make_repr(_chosen(names, options, "repr"))
            made["__init__"] = _make_init(cls, names, given)
            made |= content
            made["__slots__"] = made["__match_args__"] = names
            made["__qualname__"] = cls.__qualname__
            made["__dataclass_fields__"] = _StandardFields(given)
            return type(cls)(cls.__name__, cls.__bases__, made)

        return define

    def is_dataclass(value):
        """As `dataclasses.is_dataclass`, for classes and instances."""
        cls = value if isinstance(value, type) else value.__class__
        return "__dataclass_fields__" in cls.__dict__

    def replace(value, /, **changes):
        """As `dataclasses.replace`."""
        cls = value.__class__
        return cls(**{name: getattr(value, name) for name in cls.__match_args__} | changes)

    def _chosen(names, options, option):
        if not options:
            return names
        return tuple(n for n in names if n not in options or options[n].get(option, True))

    def _comparisons(names, *, frozen, order):
        content = operator.attrgetter(*names) if names else type

        def __eq__(self, other):
            if other.__class__ is not self.__class__:
                return NotImplemented
            return content(self) == content(other)

        made = {"__eq__": __eq__, "__hash__": None}
        if frozen:

            def __hash__(self):
                return hash(content(self))

            made["__hash__"] = __hash__
        for compare in (operator.lt, operator.le, operator.gt, operator.ge) if order else ():
            made[f"__{compare.__name__}__"] = _make_order(compare, content)
        return made

    def _make_order(compare, content):
        def ordered(self, other):
            if other.__class__ is not self.__class__:
                return NotImplemented
            return compare(content(self), content(other))

        return ordered

    def _make_repr(names):
        def __repr__(self):
            parts = [f"{name}={getattr(self, name)!r}" for name in names]
            return f"{self.__class__.__qualname__}({', '.join(parts)})"

        return __repr__

    _templates = {}
    """The code of `__init__` by number of fields, positions of factories, and __post_init__."""

    def _make_init(cls, names, given):
        defaults, factories, closure = [], {}, None
        for position, (name, one) in enumerate(zip(names, given, strict=True)):
            options = one.options if one.__class__ is _Field else {"default": one}
            default = options.get("default", _REQUIRED)
            if make := options.get("default_factory"):
                factories[position] = make
                defaults.append(_REQUIRED)
            elif default is not _REQUIRED:
                if default.__class__.__hash__ is None:
                    raise ValueError(f"a mutable default for {name}: use field(default_factory=…)")
                defaults.append(default)
            elif defaults:
                raise TypeError(f"{cls.__name__}.{name} has no default, but a field before it has")
        shape = (len(names), tuple(factories), hasattr(cls, "__post_init__"))
        template = _templates.get(shape) or _templates.setdefault(shape, _compile_init(*shape))
        code = template.replace(
            co_name="__init__",
            co_varnames=("self", *names),
            co_names=names if not shape[2] else (*names, "__post_init__"),
        )
        if factories:
            cells = {f"make{position}": make for position, make in factories.items()}
            closure = tuple([CellType(cells.get(one, _REQUIRED)) for one in code.co_freevars])
        scope = sys.modules[cls.__module__].__dict__
        init = FunctionType(code, scope, "__init__", tuple(defaults), closure)
        init.__qualname__ = f"{cls.__qualname__}.__init__"
        init.__annotations__ = cls.__annotations__
        return init

    def _compile_init(count, factories, finish):
        """The code of an `__init__` whose fields are called `field0`, `field1`, …"""
        lines = [
            f"self.field{i} = make{i}() if field{i} is REQUIRED else field{i}"
            if i in factories
            else f"self.field{i} = field{i}"
            for i in range(count)
        ]
        lines += ["self.__post_init__()"] if finish else []
        fields = "".join(f", field{i}" for i in range(count))
        outer = ", ".join(["REQUIRED", *(f"make{i}" for i in factories)])
        source = f"def wrap({outer}):\n def init(self{fields}):\n  "
        source += "\n  ".join(lines or ["pass"]) + "\n return init"
        scope = {}
        exec(source, scope)  # noqa: S102 - our own text, with numbers in it
        return scope["wrap"](*[None] * (len(factories) + 1)).__code__

    class _StandardFields:
        """What `dataclasses.fields` reads: made by the standard library once it is asked for."""

        __slots__ = ("_given",)

        def __init__(self, given):
            self._given = given

        def __get__(self, instance, owner):
            import dataclasses

            described = []
            for name, one in zip(owner.__match_args__, self._given, strict=True):
                options = {"default": one} if one is not _REQUIRED else {}
                options = one.options if one.__class__ is _Field else options
                described.append((name, owner.__annotations__[name], dataclasses.field(**options)))
            found = dataclasses.make_dataclass(owner.__name__, described).__dataclass_fields__
            owner.__dataclass_fields__ = found
            return found


def field_names(value: object) -> tuple[str, ...]:
    """The fields of a dataclass, or of an instance of one, in order."""
    cls: Any = value if isinstance(value, type) else value.__class__
    names: tuple[str, ...] = cls.__match_args__
    return names


__all__ = ["dataclass", "field", "field_names", "is_dataclass", "replace"]
