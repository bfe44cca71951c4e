"""The value types of the spec, each with its check and its error message.

Each type checks itself, explains itself in one phrase (the message goes on after "cannot use … as
…: "), and describes itself to JSON Schema. None of them touches the disk or the environment.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from algaenv.bundle.manifest.capabilities import KNOWN
from algaenv.bundle.value import dataclass
from algaenv.model.drift import IGNORABLE, DriftRule
from algaenv.model.intent import PullRef
from algaenv.spec.diagnostics import suggestion
from algaenv.spec.nodes import SubstitutedText, resolve_scalar

TAG_PREFIX = "\0"
"""Begins the tag of a union's member, which stands between keys in the locations of errors; no key
of an author's can hold it."""
TEXT, ITEMS, MAPPING = f"{TAG_PREFIX}text", f"{TAG_PREFIX}items", f"{TAG_PREFIX}mapping"


class SpecModel(BaseModel):
    """A mapping of the spec: nothing unknown, nothing converted, never changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def value_error(
    code: str, wanted: str, hint: str = "", *, hide_value: bool = False
) -> PydanticCustomError:
    """An error about one value; with `hide_value` the value is never shown."""
    return PydanticCustomError(
        code, "{wanted}", {"wanted": wanted, "hint": hint, "quiet": hide_value}
    )


@dataclass(frozen=True, slots=True)
class MatchesPattern:
    """Asks of a text that it matches `pattern` as a whole."""

    pattern: str
    code: str
    wanted: str
    hint: str = ""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}

    def _check(self, value: str) -> str:
        if re.fullmatch(self.pattern, value) is None:
            raise value_error(self.code, self.wanted, self.hint)
        return value


def _resolve_if_substituted(value: object) -> object:
    return resolve_scalar(value) if isinstance(value, SubstitutedText) else value


def _text_if_substituted(value: object) -> object:
    return str(value) if isinstance(value, SubstitutedText) else value


ResolveVariable = BeforeValidator(_resolve_if_substituted)
"""Lets a `${…}` be a number or a boolean."""
TextVariable = BeforeValidator(_text_if_substituted)
"""Lets a `${…}` be one of a few words."""

Text = Annotated[str, StringConstraints(min_length=1)]
Boolean = Annotated[bool, ResolveVariable]
Name = Annotated[
    str,
    MatchesPattern(
        r"[a-z0-9][a-z0-9-]{0,40}",
        "spec-name",
        "it may hold up to 41 lower-case letters, digits and hyphens, and begins with no hyphen",
    ),
]
ExtensionName = Annotated[
    str,
    MatchesPattern(
        r"[a-z0-9][a-z0-9._-]{0,62}",
        "spec-name",
        "it may hold up to 63 lower-case letters, digits, dots, hyphens and underscores, and "
        "begins with a letter or digit",
    ),
]
TaskName = Annotated[
    str,
    MatchesPattern(
        r"[a-z0-9][a-z0-9_-]{0,40}",
        "spec-name",
        "a task's name may hold up to 41 lower-case letters, digits, hyphens and underscores, and "
        "begins with a letter or digit",
    ),
]
ProfileName = Annotated[
    str,
    MatchesPattern(
        r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}",
        "spec-name",
        "a profile's name may hold up to 63 letters, digits, dots, hyphens and underscores, and "
        "begins with a letter or digit",
    ),
]
VariableName = Annotated[
    str,
    MatchesPattern(
        r"[A-Za-z_][A-Za-z0-9_]*",
        "spec-variable-name",
        "the name of an environment variable holds letters, digits and underscores, and begins "
        "with no digit",
    ),
]
OtelHeaderName = Annotated[
    str,
    MatchesPattern(
        r"[A-Za-z0-9!#$%&'*+.^_`|~-]+",
        "spec-name",
        "the name of a header holds letters, digits and hyphens, such as x-api-key",
    ),
]
Identifier = Annotated[
    str,
    MatchesPattern(
        r"(?!pg_)(?!template[01]$)[A-Za-z_][A-Za-z0-9_-]{0,62}",
        "spec-identifier",
        "PostgreSQL takes up to 63 letters, digits, underscores and hyphens, beginning with a "
        "letter or underscore, and keeps names that begin with pg_ for itself",
    ),
]
Region = Annotated[
    str,
    MatchesPattern(r"[a-z0-9][a-z0-9-]{0,62}", "spec-region", "a region looks like us-east-1"),
]
TenantId = Annotated[
    str,
    MatchesPattern(
        r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
        "spec-uuid",
        "a UUID is needed, such as 51bbbfe5-0720-4d9b-b3e5-b5b43e441a52",
        "name the tenant by `name:` if its id is unknown",
    ),
    AfterValidator(str.lower),
]


_BUCKET = re.compile(
    r"(?!xn--|sthree-|amzn-s3-demo-)(?!.*(?:-s3alias|--ol-s3|\.mrap|--x-s3)$)"
    r"(?!.*(?:\.\.|\.-|-\.))(?!\d+\.\d+\.\d+\.\d+$)(?!minio$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
)


def _bucket(value: str) -> str:
    if _BUCKET.fullmatch(value) is None:
        raise value_error(
            "spec-bucket",
            "S3 takes 3 to 63 lower-case letters, digits, dots and hyphens, beginning and ending "
            "with a letter or digit, no address, no reserved word",
        )
    return value


BucketName = Annotated[
    str,
    AfterValidator(_bucket),
    Field(json_schema_extra={"pattern": r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"}),
]


def _port(value: object) -> object:
    value = _resolve_if_substituted(value)
    if value == "auto" or (type(value) is int and 1 <= value <= 65535):
        return value
    if isinstance(value, str) and ":" in value:
        raise value_error(
            "spec-port-loopback",
            "every port is on 127.0.0.1 and nowhere else",
            "write the number alone",
        )
    hint = ""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        plain = value.lstrip("0")
        zeros = "zero" if len(value) - len(plain) == 1 else "zeros"
        hint = "take the quotes away"
        if plain and plain != value:
            hint = f"write {plain}, without the {zeros} in front"
    raise value_error("spec-port", "a number from 1 to 65535 or auto is needed", hint)


PortNumber = Annotated[
    int | Literal["auto"],
    BeforeValidator(_port),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 65535}, {"const": "auto"}]}
    ),
]

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 24 * 3600.0


def _duration(value: object) -> float:
    value = _resolve_if_substituted(value)
    seconds = 0.0
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = float(match[1]) * _SECONDS[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(min(value, _LONGEST + 1))
    if not 0 < seconds <= _LONGEST:
        raise value_error(
            "spec-duration", "a time above zero and up to a day is needed, such as 90s, 2m or 60"
        )
    return seconds


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": _LONGEST},
                {"type": "string", "pattern": r"^\d{1,9}(\.\d{1,9})?(ms|s|m|h)$"},
            ]
        }
    ),
]


_MEMORY = re.compile(r"(\d{1,9})(k|m|g|t)", re.IGNORECASE)
_BYTES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_LEAST_MEMORY = 32 << 20
_MOST_MEMORY = 1 << 50


def _memory(value: object) -> int:
    if value == "none":
        return 0
    size = 0
    if isinstance(value, str) and (match := _MEMORY.fullmatch(value)):
        size = int(match[1]) * _BYTES[match[2].lower()]
    if not _LEAST_MEMORY <= size <= _MOST_MEMORY:
        raise value_error(
            "spec-memory", "none, or a size from 32m on is needed, such as 512m or 2g"
        )
    return size


Memory = Annotated[
    int,
    BeforeValidator(_memory),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": "^[0-9]{1,9}[kmgtKMGT]$"}, {"const": "none"}]}
    ),
]


def _processes(value: object) -> int:
    if value == "none":
        return 0
    value = _resolve_if_substituted(value)
    if isinstance(value, int) and not isinstance(value, bool) and 16 <= value <= 1 << 22:
        return value
    raise value_error("spec-range", "none, or a number from 16 to 4194304 is needed")


ProcessCount = Annotated[
    int,
    BeforeValidator(_processes),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 16, "maximum": 1 << 22}, {"const": "none"}]}
    ),
]


def _capability(value: str) -> str:
    normal = value.strip().lower()
    if normal not in KNOWN:
        raise value_error(
            "spec-capability", "Alga knows no such capability", suggestion(normal, KNOWN)
        )
    return normal


Capability = Annotated[
    str, AfterValidator(_capability), Field(json_schema_extra={"examples": list(KNOWN)})
]


def by_kind(wanted: str, *kinds: str) -> Discriminator:
    """Tells the members of a union apart by the kind of the value, one of `kinds`.

    Only the member that fits is validated, so the author gets one error instead of one a member.
    Members carry `Tag(TEXT)`, `Tag(ITEMS)` and `Tag(MAPPING)`.
    """

    def kind(value: object) -> str | None:
        match value:
            case str():
                found = TEXT
            case list():
                found = ITEMS
            case dict():
                found = MAPPING
            case _:
                return None
        return found if found in kinds else None

    return Discriminator(kind, custom_error_type="spec-type", custom_error_message=wanted)


_DRIFT_RULE = re.compile(r"([a-z*?-]+)/([^:\s]+):([^\s].*)")


def parse_drift_rule(text: str) -> DriftRule:
    """`KIND/NAME:FIELD`, each with `*` and `?`; a value error for a field that cannot be left."""
    match = _DRIFT_RULE.fullmatch(text)
    if match is None:
        raise value_error(
            "spec-drift-rule",
            "a kind, a name and a field are needed, such as container/redis:limits.memory",
            "write KIND/NAME:FIELD; `*` stands for any text",
        )
    rule = DriftRule(match[1], match[2], match[3])
    kinds = [kind for kind in IGNORABLE if fnmatchcase(kind, rule.kind)]
    if not kinds:
        hint = suggestion(rule.kind, tuple(IGNORABLE))
        raise value_error("spec-drift-rule", f"nothing of the kind {rule.kind} may drift", hint)
    fields = sorted({field for kind in kinds for field in IGNORABLE[kind]})
    head = rule.field.partition(".")[0]
    if not any(fnmatchcase(field, head) for field in fields):
        named = kinds[0] if len(kinds) == 1 else "these kinds"
        wanted = f"{head} of {named} is no field that may drift"
        raise value_error("spec-drift-rule", wanted, suggestion(head, fields))
    return rule


def _drift_rule(value: str) -> str:
    parse_drift_rule(value)
    return value


DriftRuleText = Annotated[
    str,
    AfterValidator(_drift_rule),
    Field(json_schema_extra={"pattern": f"^{_DRIFT_RULE.pattern}$"}),
]


_HOST = r"(?:(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:\d))(?::\d{1,5})?/)?"
"""As Docker tells a registry from the first part of a path: by its dot or its port."""
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
IMAGE_REPOSITORY = rf"{_HOST}{_COMPONENT}(?:/{_COMPONENT})*"
IMAGE_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
IMAGE_DIGEST = r"sha256:[0-9a-f]{64}"
_REFERENCE = re.compile(rf"({IMAGE_REPOSITORY})(?::({IMAGE_TAG}))?(?:@({IMAGE_DIGEST}))?")
_LONGEST_REFERENCE = 400


def image_reference(value: str) -> PullRef:
    """`repository[:tag][@sha256:…]`, the tag being `latest` when there is none."""
    match = _REFERENCE.fullmatch(value) if len(value) <= _LONGEST_REFERENCE else None
    if match is None:
        raise value_error(
            "spec-image",
            "an image looks like repository:tag or repository:tag@sha256:digest, its repository "
            "in lower case",
        )
    return PullRef((match[1],), match[2] or "latest", match[3])


def _image(value: str) -> str:
    image_reference(value)
    return value


ImageText = Annotated[
    str, AfterValidator(_image), Field(json_schema_extra={"pattern": f"^{_REFERENCE.pattern}$"})
]
