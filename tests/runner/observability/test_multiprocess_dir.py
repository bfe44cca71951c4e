"""The directory of figures: private, one for each service, and cleared away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from algaenv.runner.serve import MultiprocessDir

MAKES = """
import os, sys, time
from pathlib import Path
from algaenv.runner.serve import MultiprocessDir

metrics_dir = MultiprocessDir.make(Path(sys.argv[1]))
child = os.fork()
if child:
    print(metrics_dir.path, child, flush=True)
time.sleep(60)
"""


def test_it_is_private(tmp_path: Path) -> None:
    metrics_dir = MultiprocessDir.make(tmp_path / "cache")
    try:
        for place in (metrics_dir.path, metrics_dir.path.parent, tmp_path / "cache" / ".algaenv"):
            assert place.stat().st_mode & 0o777 == 0o700
    finally:
        metrics_dir.close()
    assert not metrics_dir.path.exists()


def test_services_that_share_a_cache(tmp_path: Path) -> None:
    one, two = MultiprocessDir.make(tmp_path), MultiprocessDir.make(tmp_path)
    assert one.path != two.path
    assert one.path.exists()
    one.close()
    assert two.path.exists()
    two.close()


def test_what_a_dead_service_left_is_removed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", MAKES, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        path, child = process.stdout.readline().split()
        process.kill()
        process.wait(10)
        # A worker lives on for a while, and writes.
        MultiprocessDir.make(tmp_path).close()
        assert Path(path).exists()
        os.kill(int(child), signal.SIGKILL)
        process.stdout.read()
        MultiprocessDir.make(tmp_path).close()
        assert not Path(path).exists()
    assert [entry.name for entry in (tmp_path / ".algaenv" / "metrics").iterdir()] == ["lock"]
