"""Entry point of the supervisor of one service: `python -I -S __main__.py <record> <lock>`.

`record` is the path of the service's record, `lock` the inherited descriptor of the service's lock.
Run by its path, so that it starts without scanning installed packages.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Appended, so that no installed package can shadow the standard library.
    sys.path.append(os.path.abspath(f"{__file__}/../../../../.."))  # noqa: PTH100
    from algaenv.runtimes.process.supervisor import supervise

    sys.exit(supervise.main(sys.argv[1], int(sys.argv[2])))
