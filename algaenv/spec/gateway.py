"""What the author may say about the gateway: whether there is one, who asks, what it answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

from algaenv.spec.diagnostics import suggestion
from algaenv.spec.types import (
    ITEMS,
    MAPPING,
    TAG_PREFIX,
    TEXT,
    Boolean,
    MatchesPattern,
    PortNumber,
    ResolveVariable,
    SpecModel,
    Text,
    TextVariable,
    by_kind,
    value_error,
)

DEFAULT_PORT = 3070
APP_SERVER = f"{TAG_PREFIX}app"
USER_KEY_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}"


def _check(value: str) -> str:
    # Only a spec that names some pays for the import.
    from algaenv.gateway.settings import CHECKS

    if value not in CHECKS:
        hint = suggestion(value, tuple(sorted(CHECKS)))
        raise value_error("spec-choice", "the gateway makes no such check", hint)
    return value


def quirk_names() -> tuple[str, ...]:
    """The product's faults that the gateway reproduces."""
    from algaenv.gateway.quirks import QUIRKS

    return tuple(fault.name for fault in QUIRKS)


def _quirk(value: str) -> str:
    if value not in quirk_names():
        hint = suggestion(value, quirk_names())
        raise value_error("spec-choice", "the gateway reproduces no such fault", hint)
    return value


Check = Annotated[str, AfterValidator(_check)]
QuirkName = Annotated[str, AfterValidator(_quirk)]
Permission = Annotated[
    str,
    MatchesPattern(r"[a-z_]+:[a-z_]+", "spec-name", "a permission looks like extension:read"),
]
Id = Annotated[
    str,
    MatchesPattern(
        r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
        "spec-uuid",
        "a UUID is needed, such as 51bbbfe5-0720-4d9b-b3e5-b5b43e441a52",
    ),
    AfterValidator(str.lower),
]


def _off_text(value: object) -> object:
    """A bare `off` is a boolean in YAML, and means what it says."""
    return "off" if value is False else value


RateLimit = Annotated[
    Literal["off", "product"],
    BeforeValidator(_off_text),
    TextVariable,
    WithJsonSchema({"enum": ["off", "product", False]}),
]


class UserSpec(SpecModel):
    """Somebody who may ask through the gateway."""

    name: Annotated[
        str,
        MatchesPattern(
            USER_KEY_PATTERN,
            "spec-name",
            "it may hold up to 63 letters, digits and . _ @ -, and begins with a letter or digit",
        ),
    ] = Field(description="What requests choose this user by.")
    type: Annotated[Literal["internal", "client"], TextVariable] = Field(
        default="internal", description="Of the MSP (`internal`), or of one of its clients."
    )
    id: Id | None = Field(default=None, description="UUID. Default: derived from the name.")
    email: Text | None = Field(default=None, description="E-mail address.")
    display_name: Text | None = Field(
        default=None, description="Name for people. Default: that of `name`."
    )
    client: Text | None = Field(
        default=None,
        description="Client the user belongs to: the id or name of one of `clients`, or any name.",
    )
    permissions: list[Permission] | None = Field(
        default=None, description="Permissions. Default: those the gateway gives such a user."
    )
    additional_fields: dict[Text, str] = Field(
        default_factory=dict, description="What handlers are told besides, such as `locale`."
    )


class ClientSpec(SpecModel):
    """A client of the MSP, for handlers that read clients."""

    name: Text = Field(description="Name of the client.")
    id: Id | None = Field(default=None, description="UUID. Default: derived from the name.")
    type: Annotated[Literal["company", "individual"], TextVariable] = Field(
        default="company", description="What it is."
    )
    inactive: Boolean = Field(default=False, description="Whether it is inactive.")
    default_currency_code: Text | None = Field(default=None, description="Default: USD.")
    account_manager_id: Id | None = Field(default=None, description="UUID of a user.")
    account_manager_name: Text | None = Field(default=None, description="Name of that user.")
    billing_email: Text | None = Field(default=None, description="Where invoices go.")


class ServiceSpec(SpecModel):
    """Something the MSP sells, for handlers that read services."""

    name: Text = Field(description="Name of the service.")
    id: Id | None = Field(default=None, description="UUID. Default: derived from the name.")
    kind: Annotated[Literal["service", "product"], TextVariable] = Field(
        default="service", description="What it is."
    )
    billing_method: Annotated[Literal["fixed", "hourly", "usage"], TextVariable] = Field(
        default="fixed", description="How it is billed."
    )
    type_id: Id | None = Field(default=None, description="UUID of its type.")
    type_name: Text | None = Field(default=None, description="Name of its type.")
    default_rate: Annotated[float, Field(ge=0, strict=False), ResolveVariable] = Field(
        default=0.0, description="Its rate, in minor units."
    )
    unit_of_measure: Text | None = Field(default=None, description="Default: unit.")
    active: Boolean = Field(default=True, description="Whether it is sold.")
    sku: Text | None = Field(default=None, description="Its number in the catalogue.")


class GatewaySpec(SpecModel):
    """The gateway of this package."""

    port: PortNumber = Field(default=DEFAULT_PORT, description="Port on 127.0.0.1, or auto.")
    users: list[UserSpec] = Field(
        default_factory=list,
        description="Who may ask; the first does when nobody is named. Default: `msp`, an "
        "administrator, and `client`, a user of the client portal.",
    )
    checks_off: list[Check] = Field(
        default_factory=list, description="Permissions and other checks that are not made."
    )
    rate_limit: RateLimit = Field(
        default="off", description="`product`: 60 calls at once, and one more a second."
    )
    faults: Annotated[
        Annotated[Literal["reproduced", "fixed"], TextVariable, Tag(TEXT)]
        | Annotated[list[QuirkName], Tag(ITEMS)],
        by_kind("reproduced, fixed or a list of the faults that are fixed is needed", TEXT, ITEMS),
    ] = Field(
        default="reproduced",
        description="Faults of Alga that extensions meet in production: `reproduced`, `fixed`, or "
        "the names of those that are fixed.",
    )
    timeout_ms: Annotated[int, Field(ge=1, le=86_400_000), ResolveVariable] = Field(
        default=30_000, description="How long one call may take, in milliseconds."
    )
    clients: list[ClientSpec] = Field(
        default_factory=list, description="Clients that handlers can read."
    )
    services: list[ServiceSpec] = Field(
        default_factory=list, description="Services and products that handlers can read."
    )


class AppServerSpec(SpecModel):
    """A real app server in place of the gateway."""

    url: Text = Field(description="Alga's app server, seen from this machine; as `app_url`.")


def _gateway_tag(value: Any) -> str | None:
    match value:
        case str():
            return TEXT
        case dict():
            return APP_SERVER if "url" in value else MAPPING
    return None


Gateway = Annotated[
    Annotated[Literal["bundled", "none"], TextVariable, Tag(TEXT)]
    | Annotated[AppServerSpec, Tag(APP_SERVER)]
    | Annotated[GatewaySpec, Tag(MAPPING)],
    Discriminator(
        _gateway_tag,
        custom_error_type="spec-type",
        custom_error_message="bundled, none or a mapping is needed",
    ),
]
