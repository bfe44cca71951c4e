import ast
import re
from collections.abc import Iterator
from pathlib import Path

import algaenv.drivers
from algaenv.drivers.codes import LOCAL_CODES

PACKAGE = Path(algaenv.drivers.__file__).parent
LOCAL_FILES = [
    path for name in ("build", "probes", "state") for path in PACKAGE.glob(f"{name}/*.py")
]
TESTS = (
    "builds",
    "environment_lock",
    "state_dir",
    "bundle_builder",
    "port_choice",
    "probes",
    "secret_store",
)


def raised(source: str) -> Iterator[str]:
    """The first argument of every Problem, where it is spelled out."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Name(id="Problem") | ast.Attribute(attr="problem"),
                args=[ast.Constant(value=str(code)), *_],
            ):
                yield code


def test_every_code_is_listed_and_every_listed_one_raised() -> None:
    found = {code for path in LOCAL_FILES for code in raised(path.read_text())}
    assert found == {code for code, _ in LOCAL_CODES}


def test_codes_are_unique_and_explained() -> None:
    assert [code for code, _ in LOCAL_CODES] == sorted({code for code, _ in LOCAL_CODES})
    for code, meaning in LOCAL_CODES:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
        assert meaning
        assert "\n" not in meaning


def test_every_code_has_been_seen_by_a_test() -> None:
    here = Path(__file__)
    others = [here.with_name(f"test_{name}.py").read_text() for name in TESTS]
    unseen = [code for code, _ in LOCAL_CODES if not any(code in text for text in others)]
    assert unseen == []
