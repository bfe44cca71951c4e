"""What something else changed since the last `up`, and which of it the spec leaves alone."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from algaenv.bundle.value import dataclass
from algaenv.model.kind import Address

GONE: Final = "exists"
"""The field of a resource that is not there any more, or that nothing has recorded."""
HIDDEN: Final = "(secret)"
"""What stands in place of a secret value."""
STOPPED: Final = "running"
"""The field of a service that does not run."""

IGNORABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "container": (
        "env", "files", "image", "labels", "limits", "mounts", "name", "ports", "privileged",
        "restart",
    ),
    "process": ("files", "program"),
    "schema": ("tables",),
    "tenant": ("product_code",),
    "bundle": ("bytes", "size"),
    "release": (
        "bundle", "bundle address", "bundle size", "capabilities", "config", "enabled",
        "endpoints", "granted", "main entry", "manifest runtime", "manifest version", "providers",
        "schedules", "secrets", "ui",
    ),
    "seed-objects": ("objects",),
}  # fmt: skip
"""Kind → the fields that a rule may name; `env` stands for `env.NAME` too. Others are left out
since an environment does not work without them: what is gone, or stopped, is always mended."""


class Drift(str):
    """One live fact that no longer agrees with the record, as a phrase for people.

    `field` is what a rule names: `env.PATH`, `limits.memory`. `recorded` and `live` are the values
    in words, empty where unknown, and never a secret. `since` is when it changed, RFC 3339 in UTC,
    empty where unknown.
    """

    __slots__ = ("field", "live", "recorded", "since")

    field: str
    recorded: str
    live: str
    since: str

    def __new__(
        cls, text: str, field: str = "", recorded: str = "", live: str = "", since: str = ""
    ) -> Drift:
        """The phrase with its facts."""
        made = super().__new__(cls, text)
        made.field, made.recorded, made.live, made.since = field, recorded, live, since
        return made


@dataclass(frozen=True, slots=True)
class DriftRule:
    """Fields that are neither reported nor reverted; each part is a pattern with `*` and `?`."""

    kind: str
    name: str
    field: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}:{self.field}"

    def covers(self, address: Address, field: str) -> bool:
        """Whether it is about this field, or about one that the field is a part of."""
        head = field.partition(".")[0]
        if head not in IGNORABLE.get(address.kind, ()):
            return False
        named = fnmatchcase(address.kind, self.kind) and fnmatchcase(address.name, self.name)
        return named and (fnmatchcase(field, self.field) or self.field == head)


@dataclass(frozen=True, slots=True)
class DriftedResource:
    """A resource that is not as the last `up` left it, with each field that differs."""

    address: Address
    fields: tuple[Drift, ...]


@dataclass(frozen=True, slots=True)
class DriftReport:
    """All that has drifted, in the order of addresses.

    `unseen` maps what could not be looked at to the reason. `ignored` counts the fields that rules
    of the spec left out.
    """

    drifted: tuple[DriftedResource, ...]
    unseen: Mapping[str, str]
    ignored: int = 0
