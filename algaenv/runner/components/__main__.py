"""The process that compiles.

    python -m algaenv.runner.components IN OUT [TIER [MEMORY CPU NICE PARENT]]

MEMORY is in bytes of address space, CPU in seconds of processor time, NICE is added to the nice
value, and PARENT is the process whose end ends this one; without the four it runs unconfined. Its
answer is one line of JSON.
"""

from __future__ import annotations

import sys
from pathlib import Path

from algaenv.runner.components.compile import compile_file, confine, encode_result
from algaenv.runner.wasm.engine_config import Tier


def main(source: str, target: str, tier: str = Tier.OPTIMISED, *limits: str) -> None:
    """Compile, and write the result to stdout."""
    if limits:
        memory_bytes, cpu_seconds, nice, parent = map(int, limits)
        confine(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds, nice=nice, parent=parent)
    sys.stdout.write(encode_result(compile_file(Path(source), Path(target), Tier(tier))))


if __name__ == "__main__":
    main(*sys.argv[1:])
