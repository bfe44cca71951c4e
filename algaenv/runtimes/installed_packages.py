"""What this package runs with, for lock files: its dependencies, and the files it ships."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from algaenv.model.resource import Json
from algaenv.runtimes.memo import Memo, stamp_of
from algaenv.spec.paths import stacks_root

_NAME: Final = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?")
_EXTRA: Final = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")
_EXTRAS: Final = frozenset({"runner", "gateway", "embedded"})
"""Those of this package that services need."""
_SHIPPED: Final = ("engines", "templates")


def packages_here(cache: Path | None) -> Mapping[str, str]:
    """Distribution → version of all that services are run with, and `python` → its minor version.

    A distribution counts when it is installed. What was found is kept in `cache` until something is
    installed, upgraded or removed.
    """
    places = [it for it in sys.path if it.endswith(("site-packages", "dist-packages"))]
    kept = Memo(cache, "packages").get(sys.prefix, stamp_of(places), _look)
    found = {name: str(version) for name, version in kept.items()} if isinstance(kept, dict) else {}
    return {"python": f"{sys.version_info.major}.{sys.version_info.minor}", **found}


def templates_digest() -> str:
    """`sha256:…` over the engines' profiles and the templates of `new`."""
    total, root = hashlib.sha256(), stacks_root()
    for directory in _SHIPPED:
        for path in sorted((root / directory).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                total.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _look() -> Json:
    from importlib.metadata import PackageNotFoundError, distribution

    found: dict[str, Json] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [("algaenv", _EXTRAS)]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            there = distribution(name)
        except PackageNotFoundError:
            continue
        if name != "algaenv":  # Its own version is a pin of its own.
            found[name] = there.version
        waiting += [it for line in there.requires or () if (it := _required(line, extras))]
    return dict(sorted(found.items()))


def _required(line: str, extras: frozenset[str]) -> tuple[str, frozenset[str]] | None:
    """The distribution that a line of requirements names, with the extras of it; None where only
    another extra than those of `extras` needs it."""
    text, _, marker = line.partition(";")
    extra, name = _EXTRA.search(marker), _NAME.match(text.strip())
    if name is None or (extra is not None and extra[1] not in extras):
        return None
    wanted = frozenset(it.strip() for it in (name[2] or "").split(",") if it.strip())
    return re.sub(r"[-_.]+", "-", name[1]).lower(), wanted
