"""Collects, in a build stage, the little of it that the runner's image is made of.

The same choice that `recipe.toml` makes where algaenv assembles the image itself: the interpreter,
its standard library, the packages, and the shared libraries all these are linked to; no shell, no
package manager. Every file gets the same time, so that two builds of the same things agree.

    python3 collect.py <context> <site> <root>

`context` holds recipe.toml and certificates.pem; `site` is where pip has put the packages; `root`
becomes the root of the image. Runs on the base's
own Python (3.11 or newer) and needs `ldd`.
"""

import compileall
import fnmatch
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

PREFIX = Path("usr/local")
BY_NAME = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
"""The C library loads these when it first looks a host up."""
WORTH_IT = 1 << 17
"""Bytes a library has at least for its debugging symbols to be taken out."""
SYSTEM = ("/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/")


def main(context: Path, site: Path, root: Path) -> None:
    """Fill `root`."""
    wanted = tomllib.loads((context / "recipe.toml").read_text())
    python = wanted["python"]
    name = f"python3.{sys.version_info.minor}"
    program = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
    place(program, root / PREFIX / "bin" / name)
    (root / PREFIX / "bin" / "python3").symlink_to(name)
    library = root / PREFIX / sys.platlibdir / name
    copy(Path(os.__file__).parent, library, python["without"])
    packages = root / python["site"].lstrip("/")
    copy(site, packages, [*python["without_in_packages"], "bin"])
    for folder, shown in ((library, f"/{library.relative_to(root)}"), (packages, python["site"])):
        # Templates of packages need not be valid; importing one says so.
        compileall.compile_dir(
            folder,
            quiet=2,
            stripdir=str(folder),
            prependdir=shown,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    link(root)
    strip(root)
    accounts(root, wanted["user"], wanted["account"])
    place(context / "certificates.pem", root / "etc/ssl/certs/ca-certificates.crt")
    for folder, mode in wanted["directories"].items():
        made = root / folder.lstrip("/")
        made.mkdir(parents=True, exist_ok=True)
        if not int(mode, 8) & 0o1000:
            os.chown(made, wanted["user"], wanted["user"])
        made.chmod(int(mode, 8))
    for path in (root, *root.rglob("*")):
        os.utime(path, (0, 0), follow_symlinks=False)


def copy(folder: Path, target: Path, without: list[str]) -> None:
    """Copy files and follow links, but for names that match a pattern of `without`."""
    shutil.copytree(
        folder,
        target,
        dirs_exist_ok=True,
        ignore=lambda _, names: [
            name for name in names if any(fnmatch.fnmatchcase(name, one) for one in without)
        ],
    )


def place(source: Path, target: Path) -> None:
    """Copy one file; its directory comes into being."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def link(root: Path) -> None:
    """Add the shared libraries; one from an odd place goes where the C library is."""
    objects = [
        str(path)
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and path.open("rb").read(4) == b"\x7fELF"
    ]
    listed = subprocess.run(["ldd", *objects], check=True, capture_output=True, text=True).stdout
    found = {Path(path) for path in re.findall(r"^\s*(?:\S+ => )?(/\S+) \(0x", listed, re.M)}
    home = next(path.parent for path in found if path.name == "libc.so.6")
    found |= {home / name for name in BY_NAME if (home / name).exists()}
    for path in found:
        clean = Path(os.path.normpath(path))
        if clean.is_relative_to(root):
            continue
        there = clean if str(clean).startswith(SYSTEM) else home / clean.name
        place(clean.resolve(), root / str(there).lstrip("/"))


def strip(root: Path) -> None:
    """Take debugging symbols out, where there is a tool for it; a slim base has done so already."""
    if program := shutil.which("strip"):
        large = [str(p) for p in root.rglob("*.so*") if p.stat().st_size >= WORTH_IT]
        subprocess.run([program, "--strip-debug", *large], check=False)


def accounts(root: Path, user: int, account: str) -> None:
    """Root, and the one who runs the service."""
    etc = root / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    (etc / "passwd").write_text(
        f"root:x:0:0:root:/:/sbin/nologin\n{account}:x:{user}:{user}::/tmp:/sbin/nologin\n"
    )
    (etc / "group").write_text(f"root:x:0:\n{account}:x:{user}:\n")
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
