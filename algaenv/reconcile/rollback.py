"""Earlier versions of an extension: what the store has kept, and how one of them is installed.

Going back is an `up` whose bundle is not built but taken from the store. So it is planned, probed
and written like any other version, and the version before it is kept in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from algaenv.bundle.digest import Digest
from algaenv.bundle.manifest.model import Manifest
from algaenv.bundle.value import dataclass
from algaenv.model.intent import ExtensionIntent
from algaenv.model.kind import BUNDLE, RELEASE
from algaenv.model.lock import Lock, LockedExtension
from algaenv.model.problem import Problem, Refused
from algaenv.model.resource import Absent, Present
from algaenv.plan.order import extension_of
from algaenv.reconcile.protocols import ContentHost, OnProgress
from algaenv.reconcile.resolve import BundleBuilder


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """A bundle of an extension in the object store, and a copy of it in `archive`.

    `released_at` is when it was uploaded last, UTC in ISO 8601.
    """

    manifest: Manifest
    digest: Digest
    size: int
    released_at: str
    current: bool
    archive: Path
    page_sha256: str | None


def kept_versions(
    lock: Lock, extension: str, content: ContentHost, directory: Path
) -> tuple[KeptVersion, ...]:
    """The versions of an installed extension, the newest first; copied into `directory`.

    Raises Refused (`extension-absent`), and what reading the content raises.
    """
    seen = content.snapshot(lock).observe(())
    release = seen.get(RELEASE.address(extension), Absent())
    if not isinstance(release, Present) or release.recorded is None:
        raise Refused(
            Problem(
                "extension-absent",
                f"cannot go back with {extension}: it is not installed",
                "run `algaenv up`",
            )
        )
    found = [
        _kept(content, there, directory, str(release.inputs.get("bundle", "")))
        for address, there in seen.items()
        # Without a note no row ever pointed to it.
        if address in BUNDLE
        and extension_of(address) == extension
        and isinstance(there, Present)
        and there.note
    ]
    return tuple(sorted(found, key=lambda it: it.released_at, reverse=True))


def _kept(content: ContentHost, there: Present, directory: Path, current: str) -> KeptVersion:
    fetched = content.fetch(there.handle, directory)
    return KeptVersion(
        manifest=fetched.manifest,
        digest=fetched.digest,
        size=fetched.archive.stat().st_size,
        released_at=there.note,
        current=fetched.digest.prefixed == current,
        archive=fetched.archive,
        page_sha256=fetched.page_sha256,
    )


def choose_version(extension: str, versions: Sequence[KeptVersion], wanted: str) -> KeptVersion:
    """The version that is called so: as its manifest says, or by the beginning of its digest.

    Raises Refused (`version-unknown`, `version-ambiguous`).
    """
    named = [it for it in versions if it.manifest.version == wanted]
    digests = wanted.removeprefix("sha256:")
    found = named or [it for it in versions if digests and it.digest.hex.startswith(digests)]
    if len(found) > 1:
        # Of several builds of one version the one that serves is not what is gone back to.
        found = [it for it in found if not it.current]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{it.manifest.version} ({it.digest.short})" for it in versions)
    if found:
        raise Refused(
            Problem(
                "version-ambiguous",
                f"cannot tell which bundle of {extension} {wanted} is",
                f"name it by its digest: {known}",
            )
        )
    raise Refused(
        Problem(
            "version-unknown",
            f"cannot go back to {wanted} of {extension}: no such version is kept",
            f"choose one of {known}; the spec says with `keep_versions` how many are kept",
        )
    )


class KeptBundleBuilder:
    """Takes the bundle of one extension from what is kept; builds the others as ever."""

    def __init__(self, builder: BundleBuilder, extension: str, kept: KeptVersion) -> None:
        self._builder = builder
        self._extension = extension
        self._kept = kept

    def pack(
        self, intent: ExtensionIntent, on_progress: OnProgress
    ) -> tuple[LockedExtension, tuple[Problem, ...]]:
        """See BundleBuilder."""
        if intent.name != self._extension:
            return self._builder.pack(intent, on_progress)
        kept = self._kept
        locked = LockedExtension(
            intent, kept.manifest, kept.digest, kept.size, kept.archive, kept.page_sha256
        )
        return locked, ()

    def registry_id(self, intent: ExtensionIntent) -> str | None:
        """See BundleBuilder."""
        return self._builder.registry_id(intent)
