"""The program that stands over one service: `python -I -S shim.py <record> <lock>`.

`lock` is the number of the descriptor by which it holds the lock of its service. Run by its path,
so that it starts without looking at installed packages; what it does is in `supervise`.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Last, so that nothing installed beside us can stand in for the standard library.
    sys.path.append(os.path.abspath(f"{__file__}/../../../.."))  # noqa: PTH100
    from algaenv.runtimes.process.supervisor import supervise

    sys.exit(supervise.main(sys.argv[1], int(sys.argv[2])))
