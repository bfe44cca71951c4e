import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algaenv.drivers.build import builds, file_tree
from algaenv.drivers.build.builds import Built, build
from algaenv.drivers.state import private_files, state_dir
from algaenv.model.intent import BuildIntent, BuildStep, ExtensionIntent
from algaenv.model.lock import Environment
from algaenv.model.problem import Problem, ResolveError, Where

WHERE = Where("algaenv.yaml", 7, 13)
COUNTED = "echo ran >> runs.txt && mkdir -p dist && cat src/*.js > dist/main.js"


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@dataclass
class BuildProject:
    """An extension with a build, its workspace and the progress of its build."""

    root: Path
    command: tuple[str, ...] = (COUNTED,)
    shell: bool = True
    workspace: str = "hello"
    source: str = "hello"
    environ: dict[str, str] = field(default_factory=dict)
    timeout: float = 30.0
    messages: list[str] = field(default_factory=list)
    cancelled: Callable[[], bool] = lambda: False

    @property
    def environment(self) -> Environment:
        return state_dir.identify(self.root / "algaenv.yaml", "demo")

    @property
    def place(self) -> Path:
        return self.root / self.source

    @property
    def build_directory(self) -> Path:
        return self.environment.home / "build/hello"

    @property
    def log(self) -> Path:
        return self.environment.home / "logs/build-hello.log"

    def intent(self) -> ExtensionIntent:
        workspace = str(self.root / self.workspace)
        step = BuildStep("build", self.command, self.shell, self.environ, self.timeout)
        made = BuildIntent((step,), workspace, self.environ, self.timeout)
        return ExtensionIntent("hello", str(self.place), made, {}, {}, None, True, None, WHERE)

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def build(self) -> Path:
        return self.built().place

    def built(self) -> Built:
        return build(
            self.intent(), self.environment, self.messages.append, cancelled=self.cancelled
        )

    def runs(self) -> int:
        path = self.build_directory / "tree/runs.txt"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def fails(self, where: Where = WHERE) -> Problem:
        with pytest.raises(ResolveError) as caught:
            self.build()
        assert caught.value.problem.where == where
        assert caught.value.problem.summary.startswith("cannot build hello: ")
        return caught.value.problem


@pytest.fixture
def project(tmp_path: Path) -> BuildProject:
    made = BuildProject(tmp_path)
    made.write("hello/manifest.json", "{}")
    made.write("hello/src/a.js", "a\n")
    return made


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns, path.lstat().st_ino)
        for path in [root, *root.rglob("*")]
    }


def npm(directory: Path, *words: str) -> None:
    command = ["npm", *words, "--silent", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL)


def marked_processes(build_directory: Path) -> list[int]:
    mark = f"ALGAENV_BUILD={build_directory}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_without_a_build_the_source_is_the_place(project: BuildProject) -> None:
    plain = replace(project.intent(), build=None)
    assert build(plain, project.environment, project.messages.append).place == project.place
    assert not project.environment.home.exists()


def test_the_command_runs_in_a_mirror_and_nothing_of_the_authors_is_written(
    project: BuildProject,
) -> None:
    before = snapshot(project.place)
    place = project.build()
    assert place == project.build_directory / "tree"
    assert (place / "dist/main.js").read_text() == "a\n"
    assert (place / "manifest.json").read_text() == "{}"
    assert snapshot(project.place) == before
    assert project.messages == [f"$ {COUNTED}"]


def test_nothing_runs_twice_for_the_same(project: BuildProject) -> None:
    project.build()
    project.build()
    (project.place / "src/a.js").touch()
    project.build()
    assert project.runs() == 1


def test_an_edit_is_built_on_what_was_there(project: BuildProject) -> None:
    project.command = (f"{COUNTED} && test -e cache || touch cache first",)
    project.build()
    project.write("hello/src/a.js", "b\n")
    place = project.build()
    assert project.runs() == 2
    assert (place / "dist/main.js").read_text() == "b\n"
    assert (place / "cache").exists()


def test_an_edit_of_the_same_size_and_time_is_seen(project: BuildProject) -> None:
    path = project.place / "src/a.js"
    project.build()
    was = path.stat()
    path.write_text("b\n")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (project.build() / "dist/main.js").read_text() == "b\n"


def test_a_young_file_is_not_believed(project: BuildProject) -> None:
    """It may change once more within one tick of its clock, and look the same."""
    project.build()
    known = json.loads((project.build_directory / "state.json").read_text())["files"]
    assert [stamp for stamp, *_ in known.values()] == [[0, 0, 0, 0]] * 2


def test_a_vanished_file_vanishes_from_the_mirror(project: BuildProject) -> None:
    project.write("hello/src/z/deep/b.js", "b\n")
    place = project.build()
    assert (place / "src/z/deep/b.js").exists()
    (project.place / "src/z/deep/b.js").unlink()
    (project.place / "src/z/deep").rmdir()
    (project.place / "src/z").rmdir()
    project.build()
    assert not (place / "src/z").exists()
    assert [it[:2] for it in project.messages].count("$ ") == 2


def test_the_command_its_environment_and_the_mode_of_a_file_count(project: BuildProject) -> None:
    project.build()
    project.environ = {"TARGET": "release"}
    project.build()
    assert project.runs() == 2
    project.command = (f"true && {COUNTED}",)
    project.build()
    assert project.runs() == 3
    (project.place / "src/a.js").chmod(0o755)
    place = project.build()
    assert project.runs() == 4
    assert os.access(place / "src/a.js", os.X_OK)


def test_a_touched_result_is_built_again(project: BuildProject) -> None:
    place = project.build()
    (place / "dist/main.js").unlink()
    project.build()
    assert (place / "dist/main.js").exists()
    assert project.runs() == 2


def test_the_command_may_tidy_up_and_find_its_sources_again(project: BuildProject) -> None:
    project.write("hello/dist/old.js", "by hand\n")
    project.command = ("rm -rf dist src/a.js; mkdir dist; echo new > dist/main.js",)
    place = project.build()
    assert not (place / "src/a.js").exists()
    project.write("hello/src/b.js", "b\n")
    project.command = (COUNTED,)
    project.build()
    assert (place / "dist/main.js").read_text() == "a\nb\n"


def test_what_the_author_built_by_hand_does_not_replace_what_was_built(
    project: BuildProject,
) -> None:
    project.write("hello/dist/main.js", "by hand\n")
    place = project.build()
    assert (place / "dist/main.js").read_text() == "a\n"
    project.write("hello/notes.txt", "unrelated")
    project.command = (f"test $(cat dist/main.js) = a && {COUNTED}",)
    project.build()


def test_what_is_no_source_is_left_out(project: BuildProject) -> None:
    tag = "Signature: 8a477f597d28d172789f06886806bc55"
    for name in (".git/HEAD", ".algaenv/x", "src/__pycache__/a.pyc", "target/debug/app"):
        project.write(f"hello/{name}", "x")
    project.write("hello/target/CACHEDIR.TAG", tag)
    place = project.build()
    assert sorted(path.name for path in place.iterdir()) == [
        "dist",
        "manifest.json",
        "runs.txt",
        "src",
    ]
    project.write("hello/.git/HEAD", "y")
    project.write("hello/target/debug/app", "y")
    project.build()
    assert project.runs() == 1


def test_installed_dependencies_are_linked(project: BuildProject) -> None:
    project.write("hello/node_modules/left-pad/index.js", "pad\n")
    project.write("hello/.venv/pyvenv.cfg", "home = /usr")
    project.command = (f"cat node_modules/left-pad/index.js && {COUNTED}",)
    place = project.build()
    packages = place / "node_modules"
    assert not packages.is_symlink()
    assert (packages / "left-pad").readlink() == project.place / "node_modules/left-pad"
    assert (place / ".venv").is_symlink()
    assert "pad" in project.messages
    project.write("hello/node_modules/left-pad/index.js", "changed\n")
    project.build()
    assert project.runs() == 1, "dependencies follow from a lock file, which counts"


def test_dependencies_that_the_build_installs_stay_in_the_mirror(project: BuildProject) -> None:
    project.command = (f"test -e node_modules || mkdir -p node_modules/x && {COUNTED}",)
    place = project.build()
    assert not (project.place / "node_modules").exists()
    assert not (place / "node_modules").is_symlink()
    project.write("hello/node_modules/y/index.js", "y\n")
    project.build()
    assert [it.name for it in (place / "node_modules").iterdir()] == ["y"]
    assert (place / "node_modules/y").is_symlink()
    assert not (project.place / "node_modules/x").exists()
    assert project.runs() == 2


def test_the_authors_packages_cannot_be_emptied(project: BuildProject) -> None:
    packages = project.place / "node_modules"
    for name in ("a/index.js", "a/node_modules/b/index.js", "@x/c/index.js", "@x/c/cli.js"):
        project.write(f"hello/node_modules/{name}")
    project.write("hello/node_modules/.package-lock.json", "{}")
    project.write("hello/node_modules/.vite/deps.json", "{}")
    (packages / ".bin").mkdir()
    (packages / ".bin/c").symlink_to("../@x/c/cli.js")
    project.write("hello/packages/own/index.js", "own\n")
    (packages / "own").symlink_to("../packages/own")
    before = snapshot(project.place)
    listed = "(cd node_modules && ls -d @x/c .bin/c *) && test own = `cat node_modules/own/*.js`"
    # What an author develops is read where the build may write.
    listed += " && echo made > node_modules/own/made"
    emptied = "find node_modules/ -mindepth 1 -delete && echo {} > node_modules/.package-lock.json"
    project.command = (f"{listed} && {emptied} && mkdir node_modules/.vite node_modules/d",)
    place = project.build()
    assert snapshot(project.place) == before
    assert [it for it in project.messages if it in ("a", "@x/c", ".bin/c", "own")] == [
        *(".bin/c", "@x/c", "a", "own"),
    ]
    project.write("hello/src/a.js", "another\n")
    project.build()
    assert sorted(it.name for it in (place / "node_modules").iterdir()) == [
        *(".package-lock.json", ".vite", "d"),
    ]
    shutil.rmtree(packages)
    project.command = (COUNTED,)
    project.build()
    assert not (place / "node_modules").exists()


def test_a_link_to_packages_is_not_followed_by_what_empties_them(project: BuildProject) -> None:
    shared = project.write("shared/a/index.js").parents[1]
    (project.place / "node_modules").symlink_to(shared)
    project.command = ("test -e node_modules/a/index.js && rm -rf node_modules/*",)
    project.build()
    assert (shared / "a/index.js").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_npm_leaves_the_authors_packages_alone(project: BuildProject) -> None:
    """Of a package of the workspace, too, which has its own."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm: none is on PATH")
    place = project.place
    for version in ("1.0.0", "2.0.0"):
        for name in ("dep", "@x/dep"):
            about = {"name": name, "version": version, "bin": {name[-3:] + name[:1]: "x.js"}}
            at = project.write(f"packed/{name}-{version}/package.json", json.dumps(about)).parent
            (at / "x.js").write_text("#!/bin/sh\n")
            npm(at, "pack", "--pack-destination", str(place))
    needed = {"dep": "file:./dep-2.0.0.tgz", "@x/dep": "file:./x-dep-2.0.0.tgz"}
    root = {"name": "root", "private": True, "workspaces": ["packages/*"], "dependencies": needed}
    project.write("hello/package.json", json.dumps(root))
    own = {it: at.replace("./", "../../").replace("2.0", "1.0") for it, at in needed.items()}
    package = {"name": "a", "version": "1.0.0", "dependencies": own}
    project.write("hello/packages/a/package.json", json.dumps(package))
    npm(place, "install")
    for directory in ("", "packages/a/"):
        for name in ("dep", "@x/dep"):
            assert project.write(f"hello/{directory}node_modules/{name}/mine.txt").is_file()
    before = snapshot(project.root / "hello")
    for command in ("npm ci", "npm install --force"):
        project.command = (f"{command} --no-audit --no-fund --offline",)
        project.build()
        assert snapshot(project.root / "hello") == before, command


def test_what_vanishes_while_it_is_looked_at_is_not_there(
    project: BuildProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1", "a/2", "b/1"):
        project.write(f"tree/{name}")
    found = file_tree.walk(str(project.root / "tree"))
    seen = [next(found).path, next(found).path]
    shutil.rmtree(project.root / "tree")
    assert [*seen, *(it.path for it in found)] == seen
    with pytest.raises(FileNotFoundError):
        list(file_tree.walk(str(project.root / "tree")))

    def vanishing(root: str) -> Iterator[file_tree.TreeEntry]:
        for entry in walk(root):
            if Path(entry.path).name.startswith("temporary"):
                Path(entry.full).unlink()
            yield entry

    walk = file_tree.walk
    monkeypatch.setattr(file_tree, "walk", vanishing)
    project.write("hello/src/temporary")
    (project.place / "src/temporary-link").symlink_to("a.js")
    place = project.build()
    assert [it.name for it in (place / "src").iterdir()] == ["a.js"]


def test_a_workspace_larger_than_the_source(project: BuildProject) -> None:
    project.write("shared/lib.js", "lib\n")
    project.workspace = "."
    project.command = ("mkdir -p dist && cat ../shared/lib.js src/a.js > dist/main.js",)
    place = project.build()
    assert place == project.build_directory / "tree/hello"
    assert (place / "dist/main.js").read_text() == "lib\na\n"
    assert not (project.build_directory / "tree/.algaenv").exists(), (
        "the mirror does not hold itself"
    )


def test_a_source_outside_of_its_workspace_is_a_problem(project: BuildProject) -> None:
    project.write("other/x")
    project.workspace = "other"
    assert project.fails().code == "build-workspace"


def test_links_lead_where_they_led(project: BuildProject) -> None:
    outside = project.write("outside.txt", "outside")
    (project.place / "src/inner").symlink_to("a.js")
    (project.place / "src/absolute").symlink_to(project.place / "src/a.js")
    (project.place / "src/outer").symlink_to("../../outside.txt")
    place = project.build()
    assert (place / "src/inner").resolve() == place / "src/a.js"
    assert (place / "src/absolute").resolve() == place / "src/a.js"
    assert (place / "src/outer").resolve() == outside


def test_a_link_made_by_the_build_leads_nothing_astray(project: BuildProject) -> None:
    """The mirror is brought up to date through real directories only."""
    project.write("hello/src/gone.js", "gone\n")
    project.write("hello/src/sub/gone.js", "gone\n")
    victim = project.root / "victim"
    for name in ("a.js", "gone.js", "sub/gone.js"):
        project.write(f"victim/{name}", "precious\n")
    project.command = (f"rm -rf src && ln -s {victim} src",)
    project.build()
    (project.place / "src/gone.js").unlink()
    (project.place / "src/sub/gone.js").unlink()
    (project.place / "src/sub").rmdir()
    project.write("hello/src/a.js", "edited\n")
    project.command = (COUNTED,)
    place = project.build()
    assert not (place / "src").is_symlink()
    assert (place / "dist/main.js").read_text() == "edited\n"
    assert [path.read_text() for path in sorted(victim.rglob("*.js"))] == ["precious\n"] * 3


def test_a_vanished_directory_is_not_removed_through_a_link(project: BuildProject) -> None:
    project.write("hello/src/sub/gone.js", "gone\n")
    victim = project.root / "victim"
    project.write("victim/sub/gone.js", "precious\n")
    (victim / "empty").mkdir()
    project.write("hello/src/empty/x", "x")
    project.command = (f"rm -rf src && ln -s {victim} src",)
    project.build()
    for name in ("src/sub/gone.js", "src/empty/x", "src/a.js"):
        (project.place / name).unlink()
    for name in ("src/sub", "src/empty", "src"):
        (project.place / name).rmdir()
    project.command = ("true",)
    project.build()
    assert (victim / "sub/gone.js").read_text() == "precious\n"
    assert (victim / "empty").is_dir()


def test_a_file_that_becomes_a_directory_and_back(project: BuildProject) -> None:
    path = project.write("hello/src/thing", "file\n")
    place = project.build()
    path.unlink()
    project.write("hello/src/thing/inside.js", "inside\n")
    project.build()
    assert (place / "src/thing/inside.js").read_text() == "inside\n"
    (path / "inside.js").unlink()
    path.rmdir()
    project.write("hello/src/thing", "file again\n")
    project.build()
    assert (place / "src/thing").read_text() == "file again\n"


def test_strange_names_and_kinds(project: BuildProject) -> None:
    os.mkfifo(project.place / "pipe")
    strange = os.fsdecode(b"caf\xe9 \n\t.js")
    project.write(f"hello/src/{strange}", "strange\n")
    place = project.build()
    assert (place / "src" / strange).exists()
    assert not (place / "pipe").exists()
    project.build()
    assert project.runs() == 1


def test_a_list_is_run_without_a_shell(project: BuildProject) -> None:
    project.command, project.shell = ("echo", "$HOME", "a b"), False
    project.build()
    assert project.messages == ["$ echo $HOME a b", "$HOME a b"]


def test_what_the_command_finds_in_its_environment(project: BuildProject) -> None:
    project.environ = {"TARGET": "release", "ALGAENV": "0"}
    project.command = ('echo "$ALGAENV $TARGET $HOME"; cat; echo end',)
    project.build()
    assert project.messages[1:] == [f"1 release {os.environ['HOME']}", "end"]


def test_output_is_passed_on_line_by_line_and_kept(project: BuildProject) -> None:
    project.command = (
        r"printf 'one\n\033[31mred\033[0m\r\n10%%\r100%%\n\377\007\nlast'; echo >&2",
    )
    project.build()
    assert project.messages[1:] == ["one", "red", "100%", "�", "last"]
    assert b"\x1b[31mred" in project.log.read_bytes()
    assert project.log.stat().st_mode & 0o077 == 0


def test_a_lot_of_output_is_no_obstacle(project: BuildProject) -> None:
    """Only the beginning and the end of a long output are reported and kept."""
    project.command = (
        "echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo;"
        " yes | head -n 5000000; echo last",
    )
    project.build()
    assert project.messages[1] == "first"
    assert project.messages[-1] == "last"
    assert len(project.messages) < 100_000
    assert max(map(len, project.messages)) <= 400
    log = project.log.read_bytes()
    assert len(log) < 4_000_000
    assert log.startswith(b"first\nxxx")
    assert log.endswith(b"y\ny\nlast\n")
    assert re.search(rb"\n\[\d{7,} bytes left out here\]\n", log)


def test_errors_name_the_files_of_the_author(project: BuildProject) -> None:
    project.write("hello/src/a.js")
    project.command = (
        'mkdir -p dist && touch dist/b.js; echo "$PWD/src/a.js:3:1: wrong";'
        ' echo "$PWD/dist/b.js: made"; echo "in $PWD"; echo "($PWD/src/a.js)." >&2; exit 1',
    )
    tree = f"{project.build_directory}/tree"
    expected_lines = (
        f"{project.place}/src/a.js:3:1: wrong",
        f"{tree}/dist/b.js: made",
        f"in {project.place}",
        f"({project.place}/src/a.js).",
    )
    place = Where(f"{project.place}/src/a.js", 3, 1)
    assert project.fails(place).detail == expected_lines
    assert tuple(project.messages[1:]) == expected_lines
    assert project.log.read_text().splitlines() == list(expected_lines)


def test_a_failed_build_shows_its_last_words(project: BuildProject) -> None:
    project.command = ("seq 1 50; echo oh no >&2; exit 3",)
    problem = project.fails()
    assert problem.code == "build-failed"
    assert "exit code 3" in problem.summary
    assert problem.detail == (*map(str, range(32, 51)), "oh no")
    assert str(project.log) in problem.hint


@pytest.mark.parametrize(
    ("printed", "line", "column"),
    [
        ('✘ [ERROR] Expected ";"\n\n    src/a.js:12:19:\n      12 │ x', 12, 19),
        ("error during build:\n[vite:esbuild] failed\n{source}/src/a.js:3:4: ERROR: x", 3, 4),
        ("Build failed with 1 error:\n\n[builtin] x\n    ╭─[ src/a.js:5:6 ]\n    │", 5, 6),
        ("src/b.js(1,2): warning TS1: x\nsrc/a.js(7,8): error TS2: y", 7, 8),
        ("warning: x\n --> src/b.js:1:2\nerror[E0308]: y\n --> src/a.js:9:10", 9, 10),
        ("\x1b[31merror\x1b[0m: x\n  \x1b[36m../hello/src/a.js\x1b[0m:2:3", 2, 3),
        ("# example.com/x\n./src/a.js:4:2: undefined: y", 4, 2),
        (
            'Traceback (most recent call last):\n  File "{source}/src/b.js", line 1, in x\n'
            '  File "{source}/src/a.js", line 6, in y\n  File "/lib/z.py", line 3, in z\nE: w',
            *(6, 1),
        ),
        ('AssertionError:   File "/0/src/a.js", line 8\n    x = (\nSyntaxError: y', 8, 1),
    ],
)
def test_an_error_has_the_place_that_the_tool_names(
    project: BuildProject, printed: str, line: int, column: int
) -> None:
    project.write("hello/src/b.js")
    project.write("hello/words.txt", printed.replace("{source}", str(project.place)))
    project.command = ("cat words.txt; exit 1",)
    project.fails(Where(f"{project.place}/src/a.js", line, column))


@pytest.mark.parametrize(
    "printed",
    [
        *("error: it is wrong", "error: src/gone.js:1:2", "error: 127.0.0.1:80", "src/a.js:x"),
        *("error at node_modules/x/a.js:1:2", "error: ../outside.js:1:2", "error: /etc/hosts:1"),
    ],
)
def test_a_place_that_is_no_file_of_the_author_is_none(project: BuildProject, printed: str) -> None:
    project.write("outside.js")
    project.write("hello/node_modules/x/a.js")
    project.write("hello/words.txt", printed)
    project.command = ("cat words.txt; exit 1",)
    project.fails()


def test_files_are_found_where_a_command_goes_first(project: BuildProject) -> None:
    project.write("hello/component/src/a.rs")
    project.command = ("cd component && echo 'error: src/a.rs:1:2' && exit 1",)
    project.fails(Where(f"{project.place}/component/src/a.rs", 1, 2))


def test_the_first_error_of_many_lines_is_shown(project: BuildProject) -> None:
    project.command = ("echo begun; echo npm error code X; seq 1 50; exit 1",)
    detail = project.fails().detail
    assert detail == ("npm error code X", *map(str, range(1, 10)), "…", *map(str, range(31, 51)))
    project.command = ("echo begun; echo npm error code X; seq 1 25; exit 1",)
    assert project.fails().detail == ("npm error code X", *map(str, range(1, 26)))


def test_frames_of_the_tool_itself_are_not_shown(project: BuildProject) -> None:
    frames = ("at x (file:///a/node_modules/b/c.js:1:2)", "at y (node:internal/z:3:4)")
    own = "at build (file:///a/build.mjs:1:2)"
    lines = "\n".join(f"    {it}" for it in (own, *frames))
    project.write("hello/words.txt", f"Error: wrong\n{lines}\n")
    project.command = ("cat words.txt; exit 1",)
    assert project.fails().detail == ("Error: wrong", f"    {own}")
    assert frames[0] in project.log.read_text()


def test_what_a_tool_says_in_its_own_words_has_a_hint(project: BuildProject) -> None:
    said = "Error: attempted to call an unknown imported function: 'wasi:random/random@0.2.3' 'x'"
    project.command = (f'echo "{said}"; exit 1',)
    hint = project.fails().hint
    assert hint.startswith("move `Math.random()`, `crypto` and `Date` into functions")
    assert str(project.log) in hint


def test_a_failed_build_is_tried_again(project: BuildProject) -> None:
    project.command = (f"{COUNTED}; test -e {project.root}/mended",)
    project.fails()
    project.fails()
    assert project.runs() == 2
    project.write("mended")
    project.build()
    project.build()
    assert project.runs() == 3


def test_a_failed_build_after_a_good_one_forgets_the_good_one(project: BuildProject) -> None:
    project.command = ("test $(cat src/a.js) = a && mkdir -p dist && echo built > dist/main.js",)
    project.build()
    project.write("hello/src/a.js", "broken\n")
    project.fails()
    project.write("hello/src/a.js", "a\n")
    place = project.build()
    assert (place / "src/a.js").read_text() == "a\n"


def test_a_signal_is_named(project: BuildProject) -> None:
    project.command = ("kill -9 $$",)
    assert "SIGKILL" in project.fails().summary


def test_a_missing_program_is_named(project: BuildProject) -> None:
    project.command = ("no-such-tool --release",)
    problem = project.fails()
    assert problem.code == "build-program-missing"
    assert "no-such-tool" in problem.summary
    project.command, project.shell = ("no-such-tool", "--release"), False
    problem = project.fails()
    assert problem.code == "build-program-missing"
    assert "no-such-tool" in problem.summary


def test_time_runs_out_for_the_whole_group(project: BuildProject) -> None:
    project.timeout = 0.3
    project.command = (
        "echo begun; (trap '' TERM; sleep 60) & setsid sleep 60 & sleep 60; echo no",
    )
    problem = project.fails()
    assert problem.code == "build-timeout"
    assert "0.3 s" in problem.summary
    assert problem.detail == ("begun",)
    assert marked_processes(project.build_directory) == []


def test_a_closed_output_is_not_the_end(project: BuildProject) -> None:
    project.command = (f"exec >&- 2>&-; sleep 0.2; {COUNTED}",)
    project.build()
    assert project.runs() == 1


def test_what_is_left_in_the_background_is_ended(project: BuildProject) -> None:
    project.command = ("sleep 60 & (sleep 60; echo never) & echo done",)
    begun = time.monotonic()
    project.build()
    assert time.monotonic() - begun < 5
    assert project.messages[1:] == ["done"]
    until("gone", lambda: marked_processes(project.build_directory) == [])


def test_a_daemon_with_the_output_open_does_not_keep_it(project: BuildProject) -> None:
    project.command = ("setsid sleep 60 & echo done",)
    try:
        begun = time.monotonic()
        project.build()
        assert time.monotonic() - begun < 5
    finally:
        for pid in marked_processes(project.build_directory):
            os.kill(pid, signal.SIGKILL)


def test_cancelling_ends_the_whole_group(project: BuildProject) -> None:
    project.cancelled = lambda: "begun" in project.messages
    project.command = ("echo begun; (sleep 60; echo no) & sleep 60",)
    assert project.fails().code == "build-cancelled"
    assert marked_processes(project.build_directory) == []


def test_an_interrupt_ends_the_whole_group(project: BuildProject) -> None:
    code = "\n".join(
        [
            "import sys",
            "from pathlib import Path",
            "from tests.drivers.test_builds import BuildProject",
            "class Loud(list):",
            "    def append(self, line): print(line, flush=True)",
            "project = BuildProject(Path(sys.argv[1]), messages=Loud())",
            "project.command = ('echo begun; (sleep 60; echo no) & sleep 60',)",
            "project.build()",
        ]
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(project.root)],
        stdout=subprocess.PIPE,
        stderr=-1,
        text=True,
    ) as run:
        assert run.stdout
        assert run.stdout.readline().startswith("$ ")
        assert run.stdout.readline() == "begun\n"
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert marked_processes(project.build_directory) == []


@pytest.mark.slow
def test_the_suite_may_run_in_the_background_of_a_shell() -> None:
    """A shell has its background jobs ignore SIGINT; the test above must pass all the same."""
    test = f"{__file__}::{test_an_interrupt_ends_the_whole_group.__name__}"
    pytest_ = f"exec {sys.executable} -m pytest -q -p no:cacheprovider -p no:xdist {test}"
    done = subprocess.run(
        ["sh", "-c", f"trap '' INT; {pytest_}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_what_a_killed_run_left_is_ended_before_the_next_build(project: BuildProject) -> None:
    code = "\n".join(
        [
            "import sys, os",
            "from pathlib import Path",
            "from tests.drivers.test_builds import BuildProject",
            "class Last(list):",
            "    def append(self, line):",
            "        if line == 'begun': os.kill(os.getpid(), 9)",
            "project = BuildProject(Path(sys.argv[1]), messages=Last())",
            "project.command = ('echo begun; sleep 60; echo late > late.txt',)",
            "project.build()",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code, str(project.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert marked_processes(project.build_directory)
    place = project.build()
    assert marked_processes(project.build_directory) == []
    assert not (place / "late.txt").exists()
    assert project.runs() == 1


def test_a_run_that_is_killed_while_it_mirrors_does_no_harm(project: BuildProject) -> None:
    project.write("hello/src/b.js", "b\n")
    project.build()
    project.write("hello/src/a.js", "half an idea\n")
    project.write("hello/src/b.js", "the other half\n")
    code = "\n".join(
        [
            "import sys, os",
            "from pathlib import Path",
            "from algaenv.drivers.build import workspace",
            "from tests.drivers.test_builds import BuildProject",
            "copy = workspace._copy",
            "def copy_and_die(*what): copy(*what), os.kill(os.getpid(), 9)",
            "workspace._copy = copy_and_die",
            "BuildProject(Path(sys.argv[1])).build()",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code, str(project.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert "half" in "".join(
        path.read_text() for path in project.build_directory.glob("tree/src/*.js")
    )
    # The author goes back: what the mirror was before is what it must be again.
    project.write("hello/src/a.js", "a\n")
    project.write("hello/src/b.js", "b\n")
    assert (project.build() / "dist/main.js").read_text() == "a\nb\n"


def test_two_builds_of_one_extension_do_not_meet(project: BuildProject) -> None:
    project.command = (f"test ! -e busy && touch busy && sleep 0.2 && rm busy && {COUNTED}",)
    places: list[Path] = []
    threads = [threading.Thread(target=lambda: places.append(project.build())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 3
    assert project.runs() == 1
    assert any("waiting" in line for line in project.messages)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b'{"files": {"a": 1}}', b'{"directories": [1, "a"]}', b"[" * 9999],
)
def test_damaged_notes_cost_a_build_and_nothing_else(project: BuildProject, content: bytes) -> None:
    project.build()
    (project.build_directory / "state.json").write_bytes(content)
    place = project.build()
    assert project.runs() == 2
    assert (place / "dist/main.js").read_text() == "a\n"


def test_a_workspace_that_is_not_there_is_a_problem(project: BuildProject) -> None:
    project.workspace = project.source = "elsewhere"
    assert project.fails().code == "build-unreadable"


def test_a_file_deleted_after_a_failed_build_is_gone(project: BuildProject) -> None:
    project.command = (f"{COUNTED} && test ! -e hello/wrong && test ! -e wrong",)
    project.write("hello/src/a.js", "a")
    project.write("hello/wrong")
    secret = project.write("hello/ui/deep/password.txt", "hunter2")
    link = project.place / "ui/link"
    link.symlink_to("deep")
    project.fails()
    secret.unlink()
    secret.parent.rmdir()
    link.unlink()
    (project.place / "wrong").unlink()
    place = project.build()
    assert not (place / "ui/deep").exists()
    assert not (place / "ui/link").is_symlink()


def test_a_file_deleted_after_a_run_was_killed_while_it_mirrored_is_gone(
    project: BuildProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("hello/src/a.js", "a")
    secret = project.write("hello/ui/password.txt", "hunter2")
    project.write("hello/ui/z.txt")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(builds, "state_after_mirroring", killed)
        with pytest.raises(KeyboardInterrupt):
            project.build()
    assert (project.build_directory / "tree/ui/password.txt").exists()
    secret.unlink()
    assert not (project.build() / "ui/password.txt").exists()


def test_what_was_made_of_a_deleted_file_is_gone(project: BuildProject) -> None:
    project.command = ("mkdir -p ui target deps/node_modules; cp -R static/. ui/",)
    project.command = (
        f"{project.command[0]}; echo kept > target/x; echo kept > deps/node_modules/x",
    )
    project.write("hello/static/a.css")
    project.write("hello/static/old/password.txt", "hunter2")
    place = project.build()
    (place / "target/CACHEDIR.TAG").write_text("")
    assert (place / "ui/old/password.txt").exists()
    shutil.rmtree(project.place / "static/old")
    project.command = ("mkdir -p ui && cp -R static/. ui/",)
    place = project.build()
    assert (place / "ui/a.css").exists()
    assert not (place / "ui/old").exists()
    assert (place / "target/x").exists()
    assert (place / "deps/node_modules/x").exists()


NAMES = st.sampled_from(["src/a.js", "src/b.js", "ui/x", "ui/x/y", "ui/.keep", "notes"])
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NAMES, st.sampled_from(["", "one", "two"])),
        st.tuples(st.just("delete"), NAMES, st.just("")),
        st.tuples(st.just("link"), NAMES, st.sampled_from(["main.js", "b.js"])),
        st.tuples(st.sampled_from(["build", "fail"]), st.just(""), st.just("")),
    ),
    max_size=8,
)
MADE = "mkdir -p dist ui/made; cp -R src/. ui/made/; cat src/*.js > dist/main.js; test ! -e wrong"


@pytest.mark.slow
@settings(suppress_health_check=list(HealthCheck))
@given(changes=CHANGES)
def test_any_history_gives_what_a_fresh_clone_gives(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str, str]]
) -> None:
    project = BuildProject(tmp_path_factory.mktemp("history"), command=(MADE,))
    project.write("hello/src/main.js", "main")
    for what, name, text in changes:
        if what in ("build", "fail"):
            _attempt(project, fails=what == "fail")
        else:
            _change(project.place, what, name, text)
    _attempt(project, fails=False)
    fresh = BuildProject(tmp_path_factory.mktemp("clone"), command=(MADE,))
    shutil.copytree(project.place, fresh.place, symlinks=True)
    fresh.build()
    assert _content(project.build_directory / "tree") == _content(fresh.build_directory / "tree")


def _attempt(project: BuildProject, *, fails: bool) -> None:
    wrong = project.place / "wrong"
    if fails:
        wrong.write_text("")
        project.fails()
        wrong.unlink()
    else:
        project.build()


def _change(place: Path, what: str, name: str, text: str) -> None:
    """As an author would: what is in the way goes, and directories come and go with their files."""
    path = place / name
    for above in [it for it in (path.parent, path) if it != place]:
        if above.is_symlink() or above.is_file() or (above == path and above.is_dir()):
            private_files.remove_path(above)
    if what == "delete":
        if path.parent.is_dir() and path.parent != place and not any(path.parent.iterdir()):
            path.parent.rmdir()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text) if what == "write" else path.symlink_to(text)


def _content(tree: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(tree.rglob("*")):
        inside = str(path.relative_to(tree))
        if path.is_symlink():
            found[inside] = f"-> {path.readlink()}"
        elif path.is_file():
            found[inside] = path.read_text()
    return found
