"""Caches loaded specs: a run with an unchanged spec needs neither YAML nor pydantic.

A kept result holds as long as every file that was read or missing, every environment variable that
was asked for, this program and the directories the spec names are as they were. Anything odd in
here is a miss, never an error; a spec with errors is not kept.

Frozen values are kept as JSON, and come back exactly:

    dataclass  {"@": class name, field: value, …}      tuple    [value, …]
    mapping    {"{}": {key: value, …}}                 list     {"[]": [value, …]}
    Secret     {"@": "Secret", "value": text}          None, booleans, numbers and text: as they are
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from algaenv import __version__
from algaenv.bundle.value import field_names, is_dataclass
from algaenv.model import intent as intent_module
from algaenv.model.drift import DriftRule
from algaenv.model.intent import ContextImage, Intent
from algaenv.model.problem import Problem, Where
from algaenv.model.secret import Secret
from algaenv.model.service import ServiceIntent, ServicePort
from algaenv.spec.diagnostics import read_regular
from algaenv.spec.load import LoadedSpec
from algaenv.spec.paths import is_directory, is_file
from algaenv.system.files import write_atomic

_FORMAT = 1
_CLASS, _MAP, _LIST = "@", "{}", "[]"


def load_cached(path: Path, environ: Mapping[str, str], cache_dir: Path) -> LoadedSpec:
    """What `algaenv.spec.load.load` gives, from `cache_dir` when nothing has changed.

    Raises SpecError as `load` does. The kept file is 0600, its directory 0700 when made here; a
    directory that cannot be written costs only the speed.
    """
    kept = cache_dir / f"spec-{_short(str(path.absolute()))}.json"
    hit = _read_if_current(kept, path, environ)
    if hit is not None:
        return hit
    from algaenv.spec.load import load_with_trace

    traced = load_with_trace(path, environ)
    salt = os.urandom(16).hex()
    entry = {
        "format": _FORMAT,
        "algaenv": __version__,
        "code": _program_stamp(),
        "spec": str(path),
        "files": {str(file): digest for file, digest in traced.digests.items()},
        "salt": salt,
        "variables": {name: _hmac_of(salt, environ.get(name)) for name in traced.loaded.variables},
        "intent": encode(traced.loaded.intent),
        "warnings": encode(traced.loaded.warnings),
    }
    with contextlib.suppress(OSError):
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = json.dumps(entry, separators=(",", ":")).encode()
        write_atomic(kept, content, prefix=".spec-")
    return traced.loaded


def _read_if_current(kept: Path, path: Path, environ: Mapping[str, str]) -> LoadedSpec | None:
    try:
        entry = json.loads(kept.read_bytes())
        if not _is_current(entry, path, environ):
            return None
        classes = class_table(intent_classes())
        intent = decode(entry["intent"], classes)
        warnings = decode(entry["warnings"], classes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(intent, Intent) or not all(map(_exists, _required_paths(intent))):
        return None
    files = tuple(Path(file) for file in entry["files"])
    return LoadedSpec(intent, warnings, files, tuple(entry["variables"]))


def _is_current(entry: dict[str, Any], path: Path, environ: Mapping[str, str]) -> bool:
    return (
        entry["format"] == _FORMAT
        and entry["algaenv"] == __version__
        and entry["spec"] == str(path)
        and entry["code"] == _program_stamp()
        and all(_digest(file) == digest for file, digest in entry["files"].items())
        and all(
            _hmac_of(entry["salt"], environ.get(name)) == seal
            for name, seal in entry["variables"].items()
        )
    )


def _digest(file: str) -> str | None:
    try:
        return hashlib.sha256(read_regular(Path(file))).hexdigest()
    except OSError:
        return None


def _hmac_of(salt: str, value: str | None) -> str | None:
    """Stands for a variable's value; the salt keeps two equal values from looking equal."""
    if value is None:
        return None
    return hmac.new(salt.encode(), os.fsencode(value), hashlib.sha256).hexdigest()


def _program_stamp() -> str:
    """Stands for the program: in a checkout the version does not change with every edit."""
    package = Path(__file__).parent
    stamps = []
    for directory in (package, package / "resolve", package.parent / "model"):
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    seen = entry.stat()
                    stamps.append(f"{entry.name} {seen.st_mtime_ns} {seen.st_size}")
    return _short("\n".join(sorted(stamps)))


def intent_classes() -> Iterator[type]:
    """Every dataclass that an encoded intent, or a warning, may be made of."""
    yield Problem
    yield Where
    yield DriftRule
    yield ServiceIntent
    yield ServicePort
    for each in vars(intent_module).values():
        if isinstance(each, type) and each.__module__ == intent_module.__name__:
            yield from [each] if is_dataclass(each) else []


def _required_paths(intent: Intent) -> Iterator[tuple[str, bool]]:
    """What the spec was accepted for, and whether each is a directory."""
    for extension in intent.every_extension:
        yield f"{extension.source}/manifest.json", False
        if extension.build is not None:
            yield extension.build.workspace, True
    if isinstance(image := intent.runner.image, ContextImage):
        yield f"{image.context}/{image.dockerfile}", False
    yield from ((it.path, False) for it in intent.seed.sql)
    yield from ((it.source, True) for it in intent.seed.objects)


def _exists(needed: tuple[str, bool]) -> bool:
    path, directory = needed
    return is_directory(path) if directory else is_file(path)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def with_build_steps(intent: Any) -> Any:
    """An encoded intent of version 0.1.0, whose builds were one command, with that as a step, and
    whose extensions had neither checks nor profiles. What it did not have, such as seeds, tasks,
    services and pins, it gets none of.

    One of this version comes back as it is. Raises KeyError, TypeError for what is no intent.
    """
    intent.setdefault("seed", {_CLASS: "SeedIntent", "sql": [], "objects": [], "records": []})
    for pins in ("image_pins", "program_pins"):
        intent.setdefault(pins, {_MAP: {}})
    for later in ("inactive", "tasks", "services"):
        intent.setdefault(later, [])
    for extension in intent["extensions"]:
        extension.setdefault("checks", [])
        build = extension["build"]
        if build is not None and "command" in build:
            step = {
                _CLASS: "BuildStep",
                "name": "build",
                "command": build.pop("command"),
                "shell": build.pop("shell"),
                "environment": build["environment"],
                "timeout": build["timeout"],
                "inputs": [],
                "outputs": [],
                "ignore": [],
                "where": None,
            }
            build["steps"] = [step]
    return intent


def encode(value: object) -> Any:
    """Plain JSON for `value`; raises TypeError for what cannot come back unchanged."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case tuple():
            return [encode(item) for item in value]
        case list():
            return {_LIST: [encode(item) for item in value]}
        case Secret():
            return {_CLASS: "Secret", "value": value.reveal()}
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise TypeError("a mapping with keys that are not text")
            return {_MAP: {key: encode(item) for key, item in value.items()}}
    if is_dataclass(value) and not isinstance(value, type):
        fields = {name: encode(getattr(value, name)) for name in field_names(value)}
        return {_CLASS: type(value).__name__, **fields}
    raise TypeError(f"cannot encode a {type(value).__name__}")


def class_table(classes: Iterable[type]) -> Mapping[str, tuple[type, frozenset[str]]]:
    """The dataclasses that `decode` may make, by name, with the fields each must get."""
    return {each.__name__: (each, frozenset(field_names(each))) for each in classes}


def decode(plain: Any, classes: Mapping[str, tuple[type, frozenset[str]]]) -> Any:
    """The value that `plain` was made of; raises ValueError for anything else."""
    match plain:
        case list():
            return tuple([decode(item, classes) for item in plain])
        case dict():
            return _object(plain, classes)
    return plain


def _object(plain: dict[str, Any], classes: Mapping[str, tuple[type, frozenset[str]]]) -> Any:
    match plain:
        case {"{}": dict() as items, **rest} if not rest:
            return {key: decode(item, classes) for key, item in items.items()}
        case {"[]": list() as items, **rest} if not rest:
            return [decode(item, classes) for item in items]
        case {"@": "Secret", "value": str() as text}:
            return Secret(text)
        case {"@": str() as name} if name in classes:
            made, fields = classes[name]
            if plain.keys() - {_CLASS} != fields:
                raise ValueError(f"other fields than {name} has")
            return made(**{key: decode(plain[key], classes) for key in fields})
    raise ValueError("no encoded value")
