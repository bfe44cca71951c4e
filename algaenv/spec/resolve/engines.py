"""EngineRegistry by name: the shipped profiles, and the author's own made from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from algaenv.bundle.value import dataclass, field
from algaenv.model.intent import Profile, PullRef
from algaenv.model.problem import Where
from algaenv.spec.diagnostics import Diagnostics, suggestion
from algaenv.spec.errors import dotted_path, validate_tree
from algaenv.spec.nodes import MappingNode, NodePath, SourceMap
from algaenv.spec.paths import profile_file, profile_names
from algaenv.spec.services import EngineSpec, ImageSpec, InlineEngine, ProfileFile
from algaenv.spec.types import image_reference
from algaenv.spec.variables import remove_extension_fields
from algaenv.spec.yaml_tree import decode_text, parse_yaml

Role = Literal["store", "redis", "database"]

LOCAL_STORES = ("minio", "silo", "rclone")
"""Stores that may run here from a program of this machine, best first."""

_COMMON_PLACEHOLDERS = frozenset({"host", "port", "data", "etc", "home"})
_ROLE_PLACEHOLDERS: Mapping[Role, frozenset[str]] = {
    "store": frozenset({"console_port", "access_key", "secret_key", "user", "password", "region"}),
    "redis": frozenset({"password", "persistence"}),
    "database": frozenset({"user", "password", "database"}),
}
_SECRET_PLACEHOLDERS: Mapping[Role, frozenset[str]] = {
    "store": frozenset({"access_key", "secret_key", "user", "password"}),
    "redis": frozenset({"password"}),
    "database": frozenset({"password"}),
}
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class ShippedEngine:
    """A profile of this package."""

    profile: Profile
    spec: ProfileFile


@dataclass(frozen=True, slots=True)
class EngineRegistry:
    """Finds engines for one load; every profile that is read is recorded in the diagnostics."""

    diagnostics: Diagnostics
    _known: dict[str, ShippedEngine | None] = field(default_factory=dict)

    def shipped(self, name: str, where: Where | None) -> ShippedEngine | None:
        """The shipped engine called `name`; None after an error at `where`."""
        if name not in profile_names():
            self.diagnostics.add_error(
                "spec-engine-unknown",
                f"find the engine {name}",
                suggestion(name, profile_names(), "install algaenv anew: it lacks its engines"),
                where,
            )
            return None
        if name not in self._known:
            self._known[name] = self._load(name)
        return self._known[name]

    def by_name(self, name: str, role: Role, where: Where) -> Profile | None:
        """The shipped engine that an author names for `role`; None after an error."""
        shipped = self.shipped(name, where)
        if shipped is None or not self._serves(name, shipped, role, where):
            return None
        if shipped.spec.caution:
            self.diagnostics.add_warning(
                "spec-engine-caution",
                f"recommend the engine {name}: {shipped.spec.caution}",
                "leave `engine` out, or choose another",
                where,
            )
        return shipped.profile

    def from_inline(
        self, spec: InlineEngine, default: str, role: Role, source_map: SourceMap, path: NodePath
    ) -> Profile | None:
        """The author's own engine: a shipped one with what `spec` says laid over it."""
        name = spec.origin or default
        where = source_map.value((*path, "from"))
        shipped = self.shipped(name, where)
        if shipped is None or not self._serves(name, shipped, role, where):
            return None
        overrides = {key: getattr(spec, key) for key in spec.model_fields_set - {"origin"}}
        for key, value in overrides.items():
            if isinstance(value, dict):
                overrides[key] = {**getattr(shipped.spec, key), **value}
        if "binaries" in overrides:
            # The author's own program may be of any version, unless one is asked for.
            overrides.setdefault("version", "")
        engine = shipped.spec.model_copy(update=overrides)
        self._check(spec, role, source_map, path)
        return _profile(name, engine)

    def local(self, profile: Profile) -> tuple[Profile, ...]:
        """Which stores to try on this machine in place of an image, the named one first."""
        found = {profile.name: profile} if profile.binaries else {}
        for name in LOCAL_STORES:
            if name not in found and (shipped := self.shipped(name, None)):
                found[name] = shipped.profile
        return tuple(found.values())

    def _serves(self, name: str, shipped: ShippedEngine, role: Role, where: Where) -> bool:
        if shipped.spec.serves == role:
            return True
        able = [each for each in profile_names() if self._role(each) == role]
        self.diagnostics.add_error(
            "spec-engine-role",
            f"use the engine {name} as {role}: it serves as {shipped.spec.serves}",
            f"choose one of {', '.join(able)}",
            where,
        )
        return False

    def _role(self, name: str) -> str:
        shipped = self.shipped(name, None)
        return shipped.spec.serves if shipped else ""

    def _load(self, name: str) -> ShippedEngine | None:
        path = profile_file(name)
        file = str(path)
        try:
            text = decode_text(self.diagnostics.read(path), file, self.diagnostics)
        except OSError as error:
            self.diagnostics.add_error(
                "spec-unreadable",
                f"read {file}: {error.strerror or error}",
                "install algaenv anew",
                None,
            )
            return None
        tree = parse_yaml(text, file, self.diagnostics) if text is not None else None
        if not isinstance(tree, MappingNode):
            return None
        source_map = SourceMap(remove_extension_fields(tree, self.diagnostics))
        spec, cut = validate_tree(ProfileFile, source_map, self.diagnostics)
        if spec is None or cut:
            return None
        self._check(spec, spec.serves, source_map, ())
        return ShippedEngine(_profile(name, spec), spec)

    def _check(self, spec: EngineSpec, role: Role, source_map: SourceMap, path: NodePath) -> None:
        """Every template of `spec`: placeholders that exist, no secret in a command line."""
        known = _COMMON_PLACEHOLDERS | _ROLE_PLACEHOLDERS[role]
        for key, template in _templates(spec):
            where = source_map.value((*path, *key))
            for match in _PLACEHOLDER.finditer(template):
                name = match[1]
                if name is None:
                    continue
                if name not in known:
                    self.diagnostics.add_error(
                        "spec-template",
                        f"fill {{{name}}} in {dotted_path((*path, *key))}",
                        suggestion(name, tuple(sorted(known))),
                        where,
                    )
                elif key[0] in ("command", "process") and name in _SECRET_PLACEHOLDERS[role]:
                    self.diagnostics.add_error(
                        "spec-template",
                        f"put the secret {{{name}}} into the command line of "
                        f"{dotted_path((*path, *key))}",
                        "hand it over by `environment` or `files`, which other users cannot read",
                        where,
                    )


def _templates(spec: EngineSpec) -> Iterator[tuple[NodePath, str]]:
    for name in ("command", "process"):
        for index, text in enumerate(getattr(spec, name)):
            yield (name, index), text
    for name in ("environment", "files", "process_environment"):
        for key, text in getattr(spec, name).items():
            yield (name, key), text


def _profile(name: str, spec: EngineSpec) -> Profile:
    return Profile(
        name=name,
        image=pull_ref(spec.image),
        recipe=spec.recipe,
        command=tuple(spec.command),
        environment=dict(spec.environment),
        files=dict(spec.files),
        ports=dict(spec.ports),
        data=spec.data,
        uid=spec.uid,
        health=spec.health,
        stop_signal=spec.stop_signal,
        binaries=tuple(spec.binaries),
        process=tuple(spec.process),
        process_environment=dict(spec.process_environment),
        version=spec.version,
    )


def pull_ref(image: str | ImageSpec | None) -> PullRef | None:
    """The image that a spec names, in either of its forms."""
    match image:
        case None:
            return None
        case str():
            return image_reference(image)
        case ImageSpec():
            return PullRef(tuple(image.repositories), image.tag, image.digest)
