"""Fills the templates of an engine's profile with the values of a service."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from algaenv.bundle.value import dataclass
from algaenv.model.intent import ExternalDatabase, Profile
from algaenv.model.lock import Lock
from algaenv.model.problem import Problem, ResolveError
from algaenv.model.secret import Secret
from algaenv.runtimes.services import ServiceName, Text, Values

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class RenderedProfile:
    """A profile with its templates filled; a text that contains a secret is a Secret."""

    command: tuple[str, ...]
    environment: Values
    files: Values


def profile_values(
    lock: Lock,
    service: ServiceName,
    *,
    host: str,
    port: int,
    data: str,
    etc: str,
    console_port: int = 0,
    home: str = "",
) -> Values:
    """The value of every placeholder that a profile's templates may hold.

    `host`, `port` and `console_port` are what the service listens on; `data` and `etc` are
    directories as the service sees them. `{persistence}` is `yes` or `no`. `{password}` is the
    password of the service at hand; of redis it is empty when there is none.
    """
    values: dict[str, Text] = {
        "host": host,
        "port": str(port),
        "console_port": str(console_port),
        "data": data,
        "etc": etc,
        "home": home,
    }
    credentials, intent = lock.credentials, lock.intent
    match service:
        case "store":
            values |= {
                "access_key": credentials.access_key,
                "secret_key": credentials.secret_key,
                "user": credentials.access_key,
                "password": credentials.secret_key,
                "region": intent.store.region,
            }
        case "redis":
            values["password"] = credentials.redis_password or Secret("")
            values["persistence"] = "yes" if intent.redis.persistent else "no"
        case "database" if not isinstance(intent.database, ExternalDatabase):
            values["user"] = intent.database.user
            values["password"] = credentials.database_password
            values["database"] = intent.database.database
    return values


def render_container(profile: Profile, values: Values) -> RenderedProfile:
    """`command`, `environment` and `files` of the profile, filled.

    A file that only the other runtime's command or environment names is not among them.

    Raises ResolveError (`template-unknown`, `template-secret`) with all problems at once.
    """
    others = (*profile.process, *profile.process_environment.values())
    return _render(profile, profile.command, profile.environment, others, values)


def render_process(profile: Profile, values: Values) -> RenderedProfile:
    """`process`, `process_environment` and `files` of the profile, filled; raises likewise."""
    others = (*profile.command, *profile.environment.values())
    return _render(profile, profile.process, profile.process_environment, others, values)


def _render(
    profile: Profile,
    command: tuple[str, ...],
    environment: Mapping[str, str],
    others: Iterable[str],
    values: Values,
) -> RenderedProfile:
    problems: list[Problem] = []

    def filled(template: str, *, quoted: bool = False) -> Text:
        try:
            return fill_template(template, values, quoted=quoted)
        except KeyError as error:
            problems.append(_unknown(profile.name, str(error.args[0]), values))
            return ""

    words = tuple(filled(word) for word in command)
    if any(isinstance(word, Secret) for word in words):
        problems.append(_in_command(profile.name))
    rendered = RenderedProfile(
        command=tuple(word for word in words if isinstance(word, str)),
        environment={name: filled(template) for name, template in environment.items()},
        files={
            name: filled(text, quoted=True)
            for name, text in profile.files.items()
            if _named(name, (*command, *environment.values())) or not _named(name, others)
        },
    )
    if problems:
        raise ResolveError(*dict.fromkeys(problems))
    return rendered


def _named(file: str, templates: Iterable[str]) -> bool:
    return any(f"{{etc}}/{file}" in template for template in templates)


def fill_template(template: str, values: Values, *, quoted: bool = False) -> Text:
    """Replace `{name}` by its value; `{{` and `}}` stand for braces.

    The result is a Secret when a value was. `quoted`: a placeholder directly between double quotes
    is part of a quoted string, so quotes and backslashes of its value are escaped, as configuration
    files of servers require. Raises KeyError for an unknown name.
    """
    secret = False

    def value(match: re.Match[str]) -> str:
        nonlocal secret
        name = match[1]
        if name is None:
            return match[0][0]
        text = values[name]
        if isinstance(text, Secret):
            secret = True
            text = text.reveal()
        before, after = template[: match.start()], template[match.end() :]
        if quoted and before.endswith('"') and after.startswith('"'):
            text = text.replace("\\", "\\\\").replace('"', '\\"')
        return text

    text = _PLACEHOLDER.sub(value, template)
    return Secret(text) if secret else text


def _unknown(profile: str, name: str, values: Values) -> Problem:
    return Problem(
        "template-unknown",
        f"cannot fill {{{name}}} in the profile of engine {profile}",
        f"use one of {', '.join(sorted(values))}, or write {{{{ for a brace",
    )


def _in_command(profile: str) -> Problem:
    return Problem(
        "template-secret",
        f"cannot put a secret into the command line of engine {profile}",
        "hand it over by `environment` or `files`, which other users cannot read",
    )
