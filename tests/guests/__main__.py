"""`python -m tests.guests [NAME…]` builds and compiles guests, all unless told, and says where."""

from __future__ import annotations

import argparse
import sys
from subprocess import CalledProcessError

from . import NAMES, ToolMissing, built, commit
from .native import native_code
from .shell import packaged


def main() -> int:
    """0 when every guest is there, 1 when one cannot be built here."""
    asked = argparse.ArgumentParser(prog="python -m tests.guests", description=__doc__)
    asked.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(NAMES)}")
    asked.add_argument("--commit", action="store_true", help="renew the prebuilt ones first")
    given = asked.parse_args()
    names = given.names or list(NAMES)
    if unknown := set(names) - set(NAMES):
        asked.error(f"no such guest: {', '.join(sorted(unknown))}")

    def told(line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    if given.commit:
        commit(told)
    failed = 0
    for name in names:
        try:
            file = built(name, told)
            # Tests that start services want it compiled, and here no test waits for it.
            native_code(file)
            print(f"{name}  {file.stat().st_size:,} bytes  {file}")  # noqa: T201
        except ToolMissing as missing:
            failed += 1
            print(f"{name}  cannot be built here: {missing}")  # noqa: T201
        except CalledProcessError as error:
            failed += 1
            print(f"{name}  {error}\n{error.stdout}")  # noqa: T201
    if not given.names:
        native_code(packaged())
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
