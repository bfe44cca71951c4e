"""Native code of components, made once a machine and put where a service looks for it.

Compiling a component of 12 MB takes half a minute of processor time, and most tests are not about
compiling. The service's own compiler makes the files; they lie beside the guests, named by the
component and by the kind of engine.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from algaenv.bundle.digest import Digest

from .cache import BuildCache

_CACHE = BuildCache.of_this_machine()


def native_code(component: Path) -> Path:
    """The compiled form of a component, compiled now if this machine does not have it."""
    from algaenv.runner.components.compile_cache import CompileDirectory
    from algaenv.runner.components.compiled import CompiledComponents
    from algaenv.runner.components.compiler import CompileLimits

    digest = Digest.of_file(component)
    name = CompileDirectory(Path()).path_of(digest).name

    def compile_into(into: Path) -> None:
        scratch = into / "scratch"
        made = asyncio.run(
            CompiledComponents(scratch, CompileLimits(tiers=1)).ensure(digest, component)
        )
        made.replace(into / name)
        shutil.rmtree(scratch)
        # Caches of services have links to it: none of them may change it for the others.
        (into / name).chmod(0o400)

    return _CACHE.once(f"native-{name}", compile_into) / name


def put_native_code(cache_root: Path, component: Path) -> None:
    """Have a service with this cache directory find the component compiled."""
    from algaenv.runner.components.compile_cache import CompileDirectory

    directory = CompileDirectory(cache_root)
    directory.prepare()
    source = native_code(component)
    target = directory.path / source.name
    if target.exists():
        return
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError:
        # The test's directory is on another file system.
        draft = directory.draft(Digest.of_file(component)) / source.name
        shutil.copy(source, draft)
        draft.replace(target)
