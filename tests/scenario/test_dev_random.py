"""`dev` under a person who edits at random: in the end all is as the files say, and nothing leaks.

`ALGAENV_DEV_SECONDS` is how long it goes on (1800 for the long form), `ALGAENV_DEV_SEED` which
edits are made: 0 chooses others each time. Half way `dev` is killed.
"""

from __future__ import annotations

import os
import random

import pytest

from tests.scenario.project import Project
from tests.scenario.random_edits import RandomEdits

SECONDS = float(os.environ.get("ALGAENV_DEV_SECONDS", "20"))
SEED = int(os.environ.get("ALGAENV_DEV_SEED", "1")) or random.randrange(1, 1 << 32)
SECONDS_A_ROUND = 60.0


@pytest.mark.slow
@pytest.mark.timeout(4 * SECONDS + 600)
def test_it_converges_and_leaves_nothing(running: Project) -> None:
    edits = RandomEdits(running, SEED)
    edits.run(SECONDS, rounds=max(2, round(SECONDS / SECONDS_A_ROUND)))
