"""The feature for development containers installs the program, and says what keeps it from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import algaenv
from tests.docs.pages import ROOT, blocks, read
from tests.scenario.conftest import engine_answers

FEATURE = ROOT / "devcontainer" / "src" / "algaenv"
SCRIPT = FEATURE / "install.sh"
PROGRAM = """\
import sys
def main():
    print("algaenv 9.9" if "--version" in sys.argv else "complete -F _it algaenv")
"""
ENTRY_POINTS = """\
[console_scripts]
algaenv = algaenv:main
algaenv-runner = algaenv:main
algaenv-gateway = algaenv:main
"""


def small_wheel(directory: Path) -> Path:
    """A wheel of our name with programs that need nothing else."""
    path = directory / "algaenv-9.9-py3-none-any.whl"
    about = "algaenv-9.9.dist-info"
    files = {
        "algaenv/__init__.py": PROGRAM,
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: algaenv\nVersion: 9.9\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": ENTRY_POINTS,
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**files, f"{about}/RECORD": record}.items():
            wheel.writestr(name, text)
    return path


def install(prefix: Path, **options: str) -> subprocess.CompletedProcess[str]:
    kept = {name: it for name, it in os.environ.items() if not name.startswith("PYTHON")}
    environ = {**kept, "PYTHON": sys.executable, "PREFIX": str(prefix), **options}
    return subprocess.run(
        ["sh", str(SCRIPT)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


@pytest.mark.slow
def test_it_installs_the_program_and_again(tmp_path: Path) -> None:
    prefix = tmp_path / "usr local"
    prefix.mkdir()
    wheel = small_wheel(tmp_path)
    (prefix / "share" / "algaenv").mkdir(parents=True)
    (prefix / "share" / "algaenv" / "older").touch()
    done = install(prefix, VERSION=str(wheel), EXTRAS="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("algaenv 9.9\n")
    assert {it.name for it in (prefix / "bin").iterdir()} == {
        "algaenv",
        "algaenv-runner",
        "algaenv-gateway",
    }
    assert not (prefix / "share" / "algaenv" / "older").exists()
    completion = prefix / "share" / "bash-completion" / "completions" / "algaenv"
    assert completion.read_text() == "complete -F _it algaenv\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"VERSION": "newest"}, "cannot use the version 'newest'"),
        ({"VERSION": "0.1; reboot"}, "cannot use the version '0.1; reboot'"),
        ({"EXTRAS": "embedded]; x["}, "cannot use the extras"),
        ({"VERSION": "/none/algaenv.whl"}, "cannot find the wheel /none/algaenv.whl"),
    ],
)
def test_options_that_cannot_be_used_install_nothing(
    tmp_path: Path, options: dict[str, str], words: str
) -> None:
    done = install(tmp_path / "p", **options)
    assert done.returncode == 1
    assert words in done.stderr
    assert "hint: " in done.stderr
    assert not (tmp_path / "p" / "bin").exists()


def test_a_machine_without_python_is_told_how_to_get_it(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "id"):
        (tools / name).symlink_to(shutil.which(name) or name)
    done = install(tmp_path / "p", PATH=str(tools), PYTHON="")
    assert done.returncode == 1
    assert "cannot find Python 3.11 or newer" in done.stderr
    assert "features/python:1" in done.stderr


def test_the_description_agrees_with_the_script_and_the_page() -> None:
    feature = json.loads((FEATURE / "devcontainer-feature.json").read_text())
    assert (feature["id"], FEATURE.name) == ("algaenv", "algaenv")
    assert feature["version"] == algaenv.__version__
    script = SCRIPT.read_text()
    page = read("docs/how-to/devcontainer.md")
    for name, option in feature["options"].items():
        assert f"{name.upper()}" in script
        assert f"| `{name}` | `{option['default']}` |" in page
        assert set(option) == {"type", "proposals", "default", "description"}
    for path in (SCRIPT, ROOT / "devcontainer" / "test" / "algaenv" / "test.sh"):
        assert os.access(path, os.X_OK)
    for block in blocks(page):
        if block.language == "json":
            json.loads(block.text)


def test_the_scripts_are_clean() -> None:
    scripts = sorted((ROOT / "devcontainer").rglob("*.sh"))
    assert len(scripts) == 2
    checker = [it] if (it := shutil.which("shellcheck")) else ["bash", "-n"]
    for script in scripts:
        done = subprocess.run([*checker, script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.docker
def test_it_installs_in_a_container(tmp_path: Path) -> None:
    """One with the system's own directories, read-only; where it goes is the container's."""
    if not engine_answers():
        pytest.skip("needs a Docker engine: none answers")
    small_wheel(tmp_path)
    shutil.copy(SCRIPT, tmp_path)
    image = f"algaenv-test-feature-{os.getpid()}:1"
    made = ["docker", "import", "-", image]
    subprocess.run(made, input=b"\0" * 1024, check=True, capture_output=True)
    python = Path(sys.executable).resolve().parents[1]
    system = {
        it for it in ("/bin", "/lib", "/lib64", "/usr", "/etc", str(python)) if Path(it).exists()
    }
    binds = [word for it in sorted(system) for word in ("--volume", f"{it}:{it}:ro")]
    inside = (
        "sh /feature/install.sh && /opt/algaenv/bin/algaenv --version && ls -l /opt/algaenv/bin"
    )
    variables = {"PREFIX": "/opt/algaenv", "EXTRAS": "", "PATH": f"{python}/bin:/usr/bin:/bin"}
    variables["VERSION"] = "/feature/algaenv-9.9-py3-none-any.whl"
    settings = [word for name, it in variables.items() for word in ("--env", f"{name}={it}")]
    try:
        done = subprocess.run(
            [
                *("docker", "run", "--rm", "--network", "none", *binds, *settings),
                *("--volume", f"{tmp_path}:/feature:ro", "--tmpfs", "/opt:exec"),
                *("--tmpfs", "/tmp", image, "/bin/sh", "-c", inside),
            ],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    finally:
        subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("algaenv 9.9\n") == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_installs_this_checkout_with_its_extras(tmp_path: Path) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    assert uv, "uv is one of the requirements of the tests"
    build = [uv, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, timeout=200)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    done = install(tmp_path / "p", VERSION=str(wheel), EXTRAS="embedded,mcp")
    assert done.returncode == 0, done.stderr
    ours = tmp_path / "p" / "bin" / "algaenv"
    shop = tmp_path / "shop"
    shop.mkdir()
    for words in (["new", "hello", "--template", "ui"], ["validate"], ["mcp", "--help"]):
        subprocess.run([ours, *words], cwd=shop, check=True, capture_output=True, timeout=100)
    completion = tmp_path / "p" / "share" / "bash-completion" / "completions" / "algaenv"
    assert "algaenv" in completion.read_text()
