"""A no-op run imports this package, so its import must be cheap."""

import subprocess
import sys
from pathlib import Path

import algaenv

SCRIPT = """
import sys
before = set(sys.modules)
from algaenv.bundle import archive, digest, layout
from algaenv.bundle.manifest import model
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
