import ast
import re
from collections.abc import Iterator
from pathlib import Path

import algaenv.drivers
from algaenv.problems import load_problem_codes

PACKAGE = Path(algaenv.drivers.__file__).parent
CODES = [(each.code, each.meaning) for each in load_problem_codes()["drivers"]]
TESTS = (
    "build_detection",
    "build_steps",
    "builds",
    "environment_lock",
    "lifetimes",
    "plan_file",
    "state_dir",
    "bundle_builder",
    "port_choice",
    "probes",
    "secret_store",
)


def local_codes() -> set[str]:
    """Those of builds, probes and state: the first argument of every Problem there."""
    return {
        code
        for pattern in ("build/*.py", "probe*.py", "state/*.py")
        for path in PACKAGE.glob(pattern)
        for code in raised(path.read_text())
    }


def raised(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Name(id="Problem") | ast.Attribute(attr="problem"),
                args=[ast.Constant(value=str(code)), *_],
            ):
                yield code


def test_every_code_raised_has_a_meaning() -> None:
    assert local_codes() <= {code for code, _ in CODES}
    for code, meaning in CODES:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert meaning
        assert "\n" not in meaning


def test_every_code_has_been_seen_by_a_test() -> None:
    here = Path(__file__)
    others = [here.with_name(f"test_{name}.py").read_text() for name in TESTS]
    unseen = [code for code in sorted(local_codes()) if not any(code in text for text in others)]
    assert unseen == []
