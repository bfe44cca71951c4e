"""`user` and `user-v2`: the person on whose behalf the handler runs."""

from __future__ import annotations

from algaenv.runner.capabilities import grants
from algaenv.runner.invocation import Invocation
from algaenv.runner.wasm.values import Err

_Record = dict[str, object]


def get_user(invocation: Invocation) -> _Record | Err:
    """user-data, or `not-allowed`, or `not-available`."""
    if grants.USER not in invocation.granted:
        return Err("not-allowed")
    user = invocation.user
    if user is None:
        return Err("not-available")
    return {
        "tenant_id": invocation.tenant,
        "client_name": user.client_name,
        "user_id": user.user_id,
        "user_email": user.user_email,
        "user_name": user.user_name,
        "user_type": user.user_type,
    }


def get_user_v2(invocation: Invocation) -> _Record | Err:
    """user-data-v2: with the client's id, and further fields in the order of their names."""
    known = get_user(invocation)
    user = invocation.user
    if isinstance(known, Err) or user is None:
        return known
    known["client_id"] = user.client_id
    known["additional_fields"] = sorted(user.additional_fields.items())
    return known
