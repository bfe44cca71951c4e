"""Where the time of a no-op goes: between its events, and in its imports."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from statistics import median

from benchmarks.command import Unmeasured, run
from benchmarks.figures import Anatomy, Part
from benchmarks.project import Project

_STRETCHES = {
    "runtime_chosen": "interpreter, imports, spec, packing, asking for the engine",
    "planned": "looking at everything, drawing the plan",
    "report": "asking every service whether it answers",
    "": "leaving",
}
"""The event that ends a stretch → what happens in it; the empty one is the end of the program."""
_TOP = 10
# Dataclasses are generated as source code when their module is imported; importtime does not tell
# that from the rest of the module. Wraps what CPython's `dataclass` calls for each class.
_GENERATED = """
import dataclasses, sys, time
generate, spent = dataclasses._process_class, []
def timed(*words, **more):
    start = time.perf_counter()
    made = generate(*words, **more)
    spent.append(time.perf_counter() - start)
    return made
dataclasses._process_class = timed
sys.argv = ["algaenv", "up", "--quiet"]
from algaenv.cli import main
code = main()
print(len(spent), sum(spent), file=sys.stderr)
sys.exit(code)
"""


def dissect(project: Project, runs: int) -> Anatomy:
    """Medians over `runs` no-ops of a project that is up, each measured in both ways."""
    timelines = [_timeline(project) for _ in range(runs + 1)][1:]
    costs = [_imports(project, "-m", "algaenv", "up") for _ in range(runs)]
    bare = [sum(_imports(project, "-c", "pass").values()) for _ in range(runs)]
    modules = sorted(_medians(costs), key=lambda part: -part.seconds)
    return Anatomy(
        tuple(_medians(timelines)),
        tuple(_medians(_by_origin(cost) for cost in costs)),
        tuple(modules[:_TOP]),
        median(bare),
        _generated(project, runs),
    )


def _timeline(project: Project) -> dict[str, float]:
    """Stretch → seconds, of one no-op."""
    start = last = time.perf_counter()
    seen: dict[str, float] = {}
    with subprocess.Popen(
        [project.subject.algaenv, "up", "--json"],
        cwd=project.folder, env=project.subject.environ,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        for line in child.stdout:
            now = time.perf_counter()
            event = json.loads(line)["event"]
            if event in _STRETCHES and _STRETCHES[event] not in seen:
                seen[_STRETCHES[event]], last = now - last, now
    seen[_STRETCHES[""]] = time.perf_counter() - last
    if child.returncode or len(seen) != len(_STRETCHES):
        took = time.perf_counter() - start
        raise Unmeasured(f"`algaenv up --json` ended with {child.returncode} after {took:.1f} s")
    return seen


def _imports(project: Project, *words: str) -> dict[str, float]:
    """Module → seconds spent in it alone, as `-X importtime` says, which slows imports down."""
    argv = [str(project.subject.python), "-X", "importtime", *words]
    run(argv, environ=project.subject.environ, cwd=project.folder)
    costs: dict[str, float] = {}
    for line in (project.folder / ".stderr").read_text(errors="replace").splitlines():
        if line.startswith("import time:") and line.count("|") == 2:
            alone, _, module = line.removeprefix("import time:").split("|")
            if alone.strip().isdecimal():
                name = module.strip()
                costs[name] = costs.get(name, 0.0) + int(alone) / 1e6
    return costs


def _generated(project: Project, runs: int) -> Part:
    taken = []
    for _ in range(runs):
        argv = [str(project.subject.python), "-c", _GENERATED]
        run(argv, environ=project.subject.environ, cwd=project.folder)
        *_, count, seconds = (project.folder / ".stderr").read_text().split()
        taken.append((float(seconds), int(count)))
    return Part(f"{taken[0][1]} dataclasses", median(seconds for seconds, _ in taken))


def _by_origin(costs: dict[str, float]) -> dict[str, float]:
    sums = {"algaenv": 0.0, "standard library": 0.0, "other packages": 0.0}
    for module, seconds in costs.items():
        top = module.partition(".")[0]
        if top == "algaenv":
            sums["algaenv"] += seconds
        elif top in sys.stdlib_module_names:
            sums["standard library"] += seconds
        else:
            sums["other packages"] += seconds
    return sums


def _medians(samples: Iterable[dict[str, float]]) -> list[Part]:
    """By name; what is missing from a sample counts as nothing there."""
    taken = list(samples)
    names = dict.fromkeys(name for sample in taken for name in sample)
    return [Part(name, median(sample.get(name, 0.0) for sample in taken)) for name in names]
