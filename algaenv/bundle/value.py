"""Frozen dataclasses that are cheap to define: a run defines over a hundred of them.

To a type checker `dataclass` here is the one of the standard library, which is what keeps values
frozen. At run time `@dataclass(frozen=True, slots=True)` compiles one method, `__init__`, where the
standard decorator compiles six; equality, hash and repr are shared by all classes and mean the
same. A definition is then four times as cheap, which is 30 ms of a no-op. Any other form of the
decorator is the standard one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass

    __all__ = ["dataclass"]
else:
    import dataclasses

    def dataclass(cls: type | None = None, **options: Any) -> Any:
        """See the module; also takes the forms of `dataclasses.dataclass`."""
        if cls is not None or options != {"frozen": True, "slots": True}:
            return dataclasses.dataclass(cls, **options)
        return _value

    def _value(cls: type) -> type:
        if any(not (it.compare and it.repr) for it in _fields_given(cls)):
            return dataclasses.dataclass(frozen=True, slots=True)(cls)
        made = dataclasses.dataclass(eq=False, repr=False, slots=True)(cls)
        made.__eq__, made.__hash__, made.__repr__ = _equal, _hash, _shown
        return made

    def _fields_given(cls: type) -> list[dataclasses.Field[Any]]:
        return [it for it in vars(cls).values() if isinstance(it, dataclasses.Field)]

    def _content(self: Any) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.__dataclass_fields__])

    def _equal(self: Any, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return _content(self) == _content(other)

    def _hash(self: Any) -> int:
        return hash(_content(self))

    def _shown(self: Any) -> str:
        parts = [f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__]
        return f"{self.__class__.__qualname__}({', '.join(parts)})"
