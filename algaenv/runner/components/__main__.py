"""The process that compiles: `python -m algaenv.runner.components IN OUT [MEMORY CPU PARENT]`.

MEMORY is in bytes of address space, CPU in seconds of processor time, and PARENT the process whose
end ends this one; without the three it runs unconfined. Its answer is one line of JSON.
"""

from __future__ import annotations

import sys
from pathlib import Path

from algaenv.runner.components.compile import compile_file, confine, encode_result


def main(source: str, target: str, *limits: str) -> None:
    """Compile, and write the result to stdout."""
    if limits:
        memory_bytes, cpu_seconds, parent = map(int, limits)
        confine(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds, parent=parent)
    sys.stdout.write(encode_result(compile_file(Path(source), Path(target))))


if __name__ == "__main__":
    main(*sys.argv[1:])
