"""The shape of a request to run a handler. Unknown fields are ignored at every level."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

U64 = Annotated[int, Field(ge=0, lt=2**64)]
StringMap = dict[str, str]


class _RequestModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class ExecuteContext(_RequestModel):
    """Who is running the handler, and of what: the guest sees all but `config`."""

    request_id: str | None = None
    tenant_id: str
    extension_id: str
    install_id: str | None = None
    content_hash: str
    version_id: str | None = None
    config: StringMap = {}


class GuestRequest(_RequestModel):
    """What the handler is asked; `body_b64` is padded standard base64."""

    method: str
    path: str
    query: StringMap = {}
    headers: StringMap = {}
    body_b64: str | None = None


class CallLimits(_RequestModel):
    """`timeout_ms` and `memory_mb` (MiB); `fuel` is accepted and has no meaning."""

    timeout_ms: U64 | None = None
    memory_mb: U64 | None = None
    fuel: U64 | None = None


class SecretEnvelope(_RequestModel):
    """Secrets, sealed as `algorithm` says."""

    ciphertext_b64: str
    version: str | None = None
    algorithm: str | None = None
    expires_at: str | None = None
    key_path: str | None = None
    mount: str | None = None


class User(_RequestModel):
    """The person on whose behalf the handler runs; `company_name` is another `client_name`."""

    user_id: str
    user_email: str
    user_name: str
    user_type: str
    client_name: str = Field("", validation_alias=AliasChoices("client_name", "company_name"))
    client_id: str | None = None
    additional_fields: StringMap = {}

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and {"client_name", "company_name"} <= fields.keys():
            raise ValueError("duplicate field `client_name`")
        return fields


class ExecuteRequest(_RequestModel):
    """The whole body of `POST /v1/execute`."""

    context: ExecuteContext
    http: GuestRequest
    limits: CallLimits = CallLimits()
    secret_envelope: SecretEnvelope | None = None
    providers: list[str] = []
    user: User | None = None


class WarmupRequest(_RequestModel):
    """The whole body of `POST /warmup`; without the first two, headers must tell.

    `runs_from` alone asks for what handlers from source have in common.
    """

    tenant: str | None = None
    extension: str | None = None
    content_hash: str = ""
    runs_from: Literal["source"] | None = None

    @model_validator(mode="after")
    def _names_a_bundle(self) -> Self:
        if "content_hash" not in self.model_fields_set and self.runs_from is None:
            raise ValueError("missing field `content_hash`")
        return self
