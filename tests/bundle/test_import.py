"""The room lies on the path of a run that has nothing to do; its import must cost nothing."""

import subprocess
import sys
from pathlib import Path

import algaenv

SCRIPT = """
import sys
before = set(sys.modules)
from algaenv.bundle import archive, codes, digest, ids, layout, manifest
print(*sorted(set(sys.modules) - before))
"""


def test_no_heavy_module_is_imported() -> None:
    script = f"import sys; sys.path.insert(0, sys.argv[1]){SCRIPT}"
    answer = subprocess.run(
        [sys.executable, "-I", "-c", script, str(Path(algaenv.__file__).parents[1])],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = answer.stdout.split()
    foreign = (
        {name.partition(".")[0] for name in loaded}
        - sys.stdlib_module_names
        - {"algaenv", "_distutils_hack"}
    )
    assert foreign == set()
    heavy = {"tarfile", "shutil", "tempfile", "html.parser", "difflib", "asyncio", "logging"}
    assert heavy & set(loaded) == set()
    ours = {name for name in loaded if name.startswith("algaenv")}
    assert {name for name in ours if not name.startswith("algaenv.bundle")} <= {"algaenv"}
