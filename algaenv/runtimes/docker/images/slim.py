"""Taking debugging symbols out of libraries, which nobody reads inside a container.

Interpreters and wheels that were compiled on a developer's machine carry several times their size
in symbols. Where there is no `strip`, the image is just larger.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from algaenv.runtimes.docker.images.rootfs import File, Rootfs

_WORTH_IT: Final = 1 << 17
"""Bytes; what is smaller costs more time than it saves."""


def slim(root: Rootfs) -> None:
    """Replace the large libraries in `root` by ones without debugging symbols."""
    program = shutil.which("strip")
    if program is None:
        return
    with tempfile.TemporaryDirectory() as scratch:
        for place, source in root.large_files(_WORTH_IT):
            stripped = _stripped(program, source, Path(scratch, "stripped"))
            if stripped is not None and len(stripped) < source.stat().st_size:
                root.put(place, File(stripped, 0o755))


def _stripped(program: str, source: Path, target: Path) -> bytes | None:
    command = [program, "--strip-debug", "-o", str(target), str(source)]
    # Away from a Ctrl-C that is meant for us: steps under way end.
    done = subprocess.run(command, check=False, capture_output=True, start_new_session=True)
    return target.read_bytes() if done.returncode == 0 else None
