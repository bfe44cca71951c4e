import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algaenv.drivers.build import builds
from algaenv.drivers.build.builds import build
from algaenv.drivers.state import identity, private_files
from algaenv.model.intent import BuildIntent, ExtensionIntent
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
class Workshop:
    """An extension with a build, its workspace and what is said while it is built."""

    root: Path
    command: tuple[str, ...] = (COUNTED,)
    shell: bool = True
    workspace: str = "hello"
    source: str = "hello"
    environ: dict[str, str] = field(default_factory=dict)
    timeout: float = 30.0
    said: list[str] = field(default_factory=list)
    cancelled: Callable[[], bool] = lambda: False

    @property
    def environment(self) -> Environment:
        return identity.identify(self.root / "algaenv.yaml", "demo")

    @property
    def place(self) -> Path:
        return self.root / self.source

    @property
    def room(self) -> Path:
        return self.environment.home / "build/hello"

    @property
    def log(self) -> Path:
        return self.environment.home / "logs/build-hello.log"

    def intent(self) -> ExtensionIntent:
        workspace = str(self.root / self.workspace)
        made = BuildIntent(self.command, self.shell, workspace, self.environ, self.timeout)
        return ExtensionIntent("hello", str(self.place), made, {}, {}, None, True, None, WHERE)

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def build(self) -> Path:
        return build(self.intent(), self.environment, self.said.append, cancelled=self.cancelled)

    def runs(self) -> int:
        path = self.room / "tree/runs.txt"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def fails(self) -> Problem:
        with pytest.raises(ResolveError) as caught:
            self.build()
        assert caught.value.problem.where == WHERE
        assert caught.value.problem.summary.startswith("cannot build hello: ")
        return caught.value.problem


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    made.write("hello/manifest.json", "{}")
    made.write("hello/src/a.js", "a\n")
    return made


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns, path.lstat().st_ino)
        for path in [root, *root.rglob("*")]
    }


def marked_processes(room: Path) -> list[int]:
    mark = f"ALGAENV_BUILD={room}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_without_a_build_the_source_is_the_place(shop: Workshop) -> None:
    plain = replace(shop.intent(), build=None)
    assert build(plain, shop.environment, shop.said.append) == shop.place
    assert not shop.environment.home.exists()


def test_the_command_runs_in_a_mirror_and_nothing_of_the_authors_is_written(
    shop: Workshop,
) -> None:
    before = snapshot(shop.place)
    place = shop.build()
    assert place == shop.room / "tree"
    assert (place / "dist/main.js").read_text() == "a\n"
    assert (place / "manifest.json").read_text() == "{}"
    assert snapshot(shop.place) == before
    assert shop.said == [f"$ {COUNTED}"]


def test_nothing_runs_twice_for_the_same(shop: Workshop) -> None:
    shop.build()
    shop.build()
    (shop.place / "src/a.js").touch()
    shop.build()
    assert shop.runs() == 1


def test_an_edit_is_built_on_what_was_there(shop: Workshop) -> None:
    shop.command = (f"{COUNTED} && test -e cache || touch cache first",)
    shop.build()
    shop.write("hello/src/a.js", "b\n")
    place = shop.build()
    assert shop.runs() == 2
    assert (place / "dist/main.js").read_text() == "b\n"
    assert (place / "cache").exists()


def test_an_edit_of_the_same_size_and_time_is_seen(shop: Workshop) -> None:
    path = shop.place / "src/a.js"
    shop.build()
    was = path.stat()
    path.write_text("b\n")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (shop.build() / "dist/main.js").read_text() == "b\n"


def test_a_young_file_is_not_believed(shop: Workshop) -> None:
    """It may change once more within one tick of its clock, and look the same."""
    shop.build()
    known = json.loads((shop.room / "state.json").read_text())["files"]
    assert [stamp for stamp, *_ in known.values()] == [[0, 0, 0, 0]] * 2


def test_a_vanished_file_vanishes_from_the_mirror(shop: Workshop) -> None:
    shop.write("hello/src/z/deep/b.js", "b\n")
    place = shop.build()
    assert (place / "src/z/deep/b.js").exists()
    (shop.place / "src/z/deep/b.js").unlink()
    (shop.place / "src/z/deep").rmdir()
    (shop.place / "src/z").rmdir()
    shop.build()
    assert not (place / "src/z").exists()
    assert [it[:2] for it in shop.said].count("$ ") == 2


def test_the_command_its_environment_and_the_mode_of_a_file_count(shop: Workshop) -> None:
    shop.build()
    shop.environ = {"TARGET": "release"}
    shop.build()
    assert shop.runs() == 2
    shop.command = (f"true && {COUNTED}",)
    shop.build()
    assert shop.runs() == 3
    (shop.place / "src/a.js").chmod(0o755)
    place = shop.build()
    assert shop.runs() == 4
    assert os.access(place / "src/a.js", os.X_OK)


def test_a_touched_result_is_built_again(shop: Workshop) -> None:
    place = shop.build()
    (place / "dist/main.js").unlink()
    shop.build()
    assert (place / "dist/main.js").exists()
    assert shop.runs() == 2


def test_the_command_may_tidy_up_and_find_its_sources_again(shop: Workshop) -> None:
    shop.write("hello/dist/old.js", "by hand\n")
    shop.command = ("rm -rf dist src/a.js; mkdir dist; echo new > dist/main.js",)
    place = shop.build()
    assert not (place / "src/a.js").exists()
    shop.write("hello/src/b.js", "b\n")
    shop.command = (COUNTED,)
    shop.build()
    assert (place / "dist/main.js").read_text() == "a\nb\n"


def test_what_the_author_built_by_hand_does_not_replace_what_was_built(shop: Workshop) -> None:
    shop.write("hello/dist/main.js", "by hand\n")
    place = shop.build()
    assert (place / "dist/main.js").read_text() == "a\n"
    shop.write("hello/notes.txt", "unrelated")
    shop.command = (f"test $(cat dist/main.js) = a && {COUNTED}",)
    shop.build()


def test_what_is_no_source_is_left_out(shop: Workshop) -> None:
    tag = "Signature: 8a477f597d28d172789f06886806bc55"
    for name in (".git/HEAD", ".algaenv/x", "src/__pycache__/a.pyc", "target/debug/app"):
        shop.write(f"hello/{name}", "x")
    shop.write("hello/target/CACHEDIR.TAG", tag)
    place = shop.build()
    assert sorted(path.name for path in place.iterdir()) == [
        "dist",
        "manifest.json",
        "runs.txt",
        "src",
    ]
    shop.write("hello/.git/HEAD", "y")
    shop.write("hello/target/debug/app", "y")
    shop.build()
    assert shop.runs() == 1


def test_installed_dependencies_are_linked(shop: Workshop) -> None:
    shop.write("hello/node_modules/left-pad/index.js", "pad\n")
    shop.write("hello/.venv/pyvenv.cfg", "home = /usr")
    shop.command = (f"cat node_modules/left-pad/index.js && {COUNTED}",)
    place = shop.build()
    assert (place / "node_modules").readlink() == shop.place / "node_modules"
    assert (place / ".venv").is_symlink()
    assert "pad" in shop.said
    shop.write("hello/node_modules/left-pad/index.js", "changed\n")
    shop.build()
    assert shop.runs() == 1, "dependencies follow from a lock file, which counts"


def test_dependencies_that_the_build_installs_stay_in_the_mirror(shop: Workshop) -> None:
    shop.command = (f"test -e node_modules || mkdir -p node_modules/x && {COUNTED}",)
    place = shop.build()
    assert not (shop.place / "node_modules").exists()
    assert not (place / "node_modules").is_symlink()
    shop.write("hello/node_modules/y/index.js", "y\n")
    shop.build()
    assert (place / "node_modules").is_symlink()
    assert not (shop.place / "node_modules/x").exists()
    assert shop.runs() == 2


def test_a_workspace_larger_than_the_source(shop: Workshop) -> None:
    shop.write("shared/lib.js", "lib\n")
    shop.workspace = "."
    shop.command = ("mkdir -p dist && cat ../shared/lib.js src/a.js > dist/main.js",)
    place = shop.build()
    assert place == shop.room / "tree/hello"
    assert (place / "dist/main.js").read_text() == "lib\na\n"
    assert not (shop.room / "tree/.algaenv").exists(), "the mirror does not hold itself"


def test_a_source_outside_of_its_workspace_is_a_problem(shop: Workshop) -> None:
    shop.write("other/x")
    shop.workspace = "other"
    assert shop.fails().code == "build-workspace"


def test_links_lead_where_they_led(shop: Workshop) -> None:
    outside = shop.write("outside.txt", "outside")
    (shop.place / "src/inner").symlink_to("a.js")
    (shop.place / "src/absolute").symlink_to(shop.place / "src/a.js")
    (shop.place / "src/outer").symlink_to("../../outside.txt")
    place = shop.build()
    assert (place / "src/inner").resolve() == place / "src/a.js"
    assert (place / "src/absolute").resolve() == place / "src/a.js"
    assert (place / "src/outer").resolve() == outside


def test_a_link_made_by_the_build_leads_nothing_astray(shop: Workshop) -> None:
    """The mirror is brought up to date through real directories only."""
    shop.write("hello/src/gone.js", "gone\n")
    shop.write("hello/src/sub/gone.js", "gone\n")
    victim = shop.root / "victim"
    for name in ("a.js", "gone.js", "sub/gone.js"):
        shop.write(f"victim/{name}", "precious\n")
    shop.command = (f"rm -rf src && ln -s {victim} src",)
    shop.build()
    (shop.place / "src/gone.js").unlink()
    (shop.place / "src/sub/gone.js").unlink()
    (shop.place / "src/sub").rmdir()
    shop.write("hello/src/a.js", "edited\n")
    shop.command = (COUNTED,)
    place = shop.build()
    assert not (place / "src").is_symlink()
    assert (place / "dist/main.js").read_text() == "edited\n"
    assert [path.read_text() for path in sorted(victim.rglob("*.js"))] == ["precious\n"] * 3


def test_a_vanished_directory_is_not_removed_through_a_link(shop: Workshop) -> None:
    shop.write("hello/src/sub/gone.js", "gone\n")
    victim = shop.root / "victim"
    shop.write("victim/sub/gone.js", "precious\n")
    (victim / "empty").mkdir()
    shop.write("hello/src/empty/x", "x")
    shop.command = (f"rm -rf src && ln -s {victim} src",)
    shop.build()
    for name in ("src/sub/gone.js", "src/empty/x", "src/a.js"):
        (shop.place / name).unlink()
    for name in ("src/sub", "src/empty", "src"):
        (shop.place / name).rmdir()
    shop.command = ("true",)
    shop.build()
    assert (victim / "sub/gone.js").read_text() == "precious\n"
    assert (victim / "empty").is_dir()


def test_a_file_that_becomes_a_directory_and_back(shop: Workshop) -> None:
    path = shop.write("hello/src/thing", "file\n")
    place = shop.build()
    path.unlink()
    shop.write("hello/src/thing/inside.js", "inside\n")
    shop.build()
    assert (place / "src/thing/inside.js").read_text() == "inside\n"
    (path / "inside.js").unlink()
    path.rmdir()
    shop.write("hello/src/thing", "file again\n")
    shop.build()
    assert (place / "src/thing").read_text() == "file again\n"


def test_strange_names_and_kinds(shop: Workshop) -> None:
    os.mkfifo(shop.place / "pipe")
    strange = os.fsdecode(b"caf\xe9 \n\t.js")
    shop.write(f"hello/src/{strange}", "strange\n")
    place = shop.build()
    assert (place / "src" / strange).exists()
    assert not (place / "pipe").exists()
    shop.build()
    assert shop.runs() == 1


def test_a_list_is_run_without_a_shell(shop: Workshop) -> None:
    shop.command, shop.shell = ("echo", "$HOME", "a b"), False
    shop.build()
    assert shop.said == ["$ echo $HOME a b", "$HOME a b"]


def test_what_the_command_finds_in_its_environment(shop: Workshop) -> None:
    shop.environ = {"TARGET": "release", "ALGAENV": "0"}
    shop.command = ('echo "$ALGAENV $TARGET $HOME"; cat; echo end',)
    shop.build()
    assert shop.said[1:] == [f"1 release {os.environ['HOME']}", "end"]


def test_output_is_passed_on_line_by_line_and_kept(shop: Workshop) -> None:
    shop.command = (r"printf 'one\n\033[31mred\033[0m\r\n10%%\r100%%\n\377\007\nlast'; echo >&2",)
    shop.build()
    assert shop.said[1:] == ["one", "red", "100%", "�", "last"]
    assert b"\x1b[31mred" in shop.log.read_bytes()
    assert shop.log.stat().st_mode & 0o077 == 0


def test_a_lot_of_output_is_no_obstacle(shop: Workshop) -> None:
    """Not all of it is told, nor kept; what comes first and last is."""
    shop.command = (
        "echo first; head -c 3000000 /dev/zero | tr '\\0' x; echo;"
        " yes | head -n 5000000; echo last",
    )
    shop.build()
    assert shop.said[1] == "first"
    assert shop.said[-1] == "last"
    assert len(shop.said) < 100_000
    assert max(map(len, shop.said)) <= 400
    log = shop.log.read_bytes()
    assert len(log) < 4_000_000
    assert log.startswith(b"first\nxxx")
    assert log.endswith(b"y\ny\nlast\n")
    assert re.search(rb"\n\[\d{7,} bytes left out here\]\n", log)


def test_errors_name_the_files_of_the_author(shop: Workshop) -> None:
    shop.write("hello/src/a.js")
    shop.command = (
        'mkdir -p dist && touch dist/b.js; echo "$PWD/src/a.js:3:1: wrong";'
        ' echo "$PWD/dist/b.js: made"; echo "in $PWD"; echo "($PWD/src/a.js)." >&2; exit 1',
    )
    tree = f"{shop.room}/tree"
    told = (
        f"{shop.place}/src/a.js:3:1: wrong",
        f"{tree}/dist/b.js: made",
        f"in {shop.place}",
        f"({shop.place}/src/a.js).",
    )
    assert shop.fails().detail == told
    assert tuple(shop.said[1:]) == told
    assert shop.log.read_text().splitlines() == list(told)


def test_a_failed_build_shows_its_last_words(shop: Workshop) -> None:
    shop.command = ("seq 1 50; echo oh no >&2; exit 3",)
    problem = shop.fails()
    assert problem.code == "build-failed"
    assert "exit code 3" in problem.summary
    assert problem.detail == (*map(str, range(32, 51)), "oh no")
    assert str(shop.log) in problem.hint


def test_a_failed_build_is_tried_again(shop: Workshop) -> None:
    shop.command = (f"{COUNTED}; test -e {shop.root}/mended",)
    shop.fails()
    shop.fails()
    assert shop.runs() == 2
    shop.write("mended")
    shop.build()
    shop.build()
    assert shop.runs() == 3


def test_a_failed_build_after_a_good_one_forgets_the_good_one(shop: Workshop) -> None:
    shop.command = ("test $(cat src/a.js) = a && mkdir -p dist && echo built > dist/main.js",)
    shop.build()
    shop.write("hello/src/a.js", "broken\n")
    shop.fails()
    shop.write("hello/src/a.js", "a\n")
    place = shop.build()
    assert (place / "src/a.js").read_text() == "a\n"


def test_a_signal_is_named(shop: Workshop) -> None:
    shop.command = ("kill -9 $$",)
    assert "SIGKILL" in shop.fails().summary


def test_a_missing_program_is_named(shop: Workshop) -> None:
    shop.command = ("no-such-tool --release",)
    problem = shop.fails()
    assert problem.code == "build-program-missing"
    assert "no-such-tool" in problem.summary
    shop.command, shop.shell = ("no-such-tool", "--release"), False
    problem = shop.fails()
    assert problem.code == "build-program-missing"
    assert "no-such-tool" in problem.summary


def test_time_runs_out_for_the_whole_group(shop: Workshop) -> None:
    shop.timeout = 0.3
    shop.command = ("echo begun; (trap '' TERM; sleep 60) & setsid sleep 60 & sleep 60; echo no",)
    problem = shop.fails()
    assert problem.code == "build-timeout"
    assert "0.3 s" in problem.summary
    assert problem.detail == ("begun",)
    assert marked_processes(shop.room) == []


def test_a_closed_output_is_not_the_end(shop: Workshop) -> None:
    shop.command = (f"exec >&- 2>&-; sleep 0.2; {COUNTED}",)
    shop.build()
    assert shop.runs() == 1


def test_what_is_left_in_the_background_is_ended(shop: Workshop) -> None:
    shop.command = ("sleep 60 & (sleep 60; echo never) & echo done",)
    begun = time.monotonic()
    shop.build()
    assert time.monotonic() - begun < 5
    assert shop.said[1:] == ["done"]
    until("gone", lambda: marked_processes(shop.room) == [])


def test_a_daemon_with_the_output_open_does_not_keep_it(shop: Workshop) -> None:
    shop.command = ("setsid sleep 60 & echo done",)
    try:
        begun = time.monotonic()
        shop.build()
        assert time.monotonic() - begun < 5
    finally:
        for pid in marked_processes(shop.room):
            os.kill(pid, signal.SIGKILL)


def test_cancelling_ends_the_whole_group(shop: Workshop) -> None:
    shop.cancelled = lambda: "begun" in shop.said
    shop.command = ("echo begun; (sleep 60; echo no) & sleep 60",)
    assert shop.fails().code == "build-cancelled"
    assert marked_processes(shop.room) == []


def test_an_interrupt_ends_the_whole_group(shop: Workshop) -> None:
    code = "\n".join(
        [
            "import sys",
            "from pathlib import Path",
            "from tests.drivers.test_builds import Workshop",
            "class Loud(list):",
            "    def append(self, line): print(line, flush=True)",
            "shop = Workshop(Path(sys.argv[1]), said=Loud())",
            "shop.command = ('echo begun; (sleep 60; echo no) & sleep 60',)",
            "shop.build()",
        ]
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(shop.root)], stdout=subprocess.PIPE, stderr=-1, text=True
    ) as run:
        assert run.stdout
        assert run.stdout.readline().startswith("$ ")
        assert run.stdout.readline() == "begun\n"
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert marked_processes(shop.room) == []


def test_the_suite_may_run_in_the_background_of_a_shell() -> None:
    """A shell has its background jobs ignore SIGINT; the test above must pass all the same."""
    test = f"{__file__}::{test_an_interrupt_ends_the_whole_group.__name__}"
    pytest_ = f"exec {sys.executable} -m pytest -q -p no:cacheprovider -p no:xdist {test}"
    done = subprocess.run(
        ["sh", "-c", f"trap '' INT; {pytest_}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_what_a_killed_run_left_is_ended_before_the_next_build(shop: Workshop) -> None:
    code = "\n".join(
        [
            "import sys, os",
            "from pathlib import Path",
            "from tests.drivers.test_builds import Workshop",
            "class Last(list):",
            "    def append(self, line):",
            "        if line == 'begun': os.kill(os.getpid(), 9)",
            "shop = Workshop(Path(sys.argv[1]), said=Last())",
            "shop.command = ('echo begun; sleep 60; echo late > late.txt',)",
            "shop.build()",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code, str(shop.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert marked_processes(shop.room)
    place = shop.build()
    assert marked_processes(shop.room) == []
    assert not (place / "late.txt").exists()
    assert shop.runs() == 1


def test_a_run_that_is_killed_while_it_mirrors_does_no_harm(shop: Workshop) -> None:
    shop.write("hello/src/b.js", "b\n")
    shop.build()
    shop.write("hello/src/a.js", "half an idea\n")
    shop.write("hello/src/b.js", "the other half\n")
    code = "\n".join(
        [
            "import sys, os",
            "from pathlib import Path",
            "from algaenv.drivers.build import builds",
            "from tests.drivers.test_builds import Workshop",
            "copy = builds._copy",
            "def copy_and_die(*what): copy(*what), os.kill(os.getpid(), 9)",
            "builds._copy = copy_and_die",
            "Workshop(Path(sys.argv[1])).build()",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code, str(shop.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert "half" in "".join(path.read_text() for path in shop.room.glob("tree/src/*.js"))
    # The author goes back: what the mirror was before is what it must be again.
    shop.write("hello/src/a.js", "a\n")
    shop.write("hello/src/b.js", "b\n")
    assert (shop.build() / "dist/main.js").read_text() == "a\nb\n"


def test_two_builds_of_one_extension_do_not_meet(shop: Workshop) -> None:
    shop.command = (f"test ! -e busy && touch busy && sleep 0.2 && rm busy && {COUNTED}",)
    places: list[Path] = []
    threads = [threading.Thread(target=lambda: places.append(shop.build())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 3
    assert shop.runs() == 1
    assert any("waiting" in line for line in shop.said)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b'{"files": {"a": 1}}', b'{"directories": [1, "a"]}', b"[" * 9999],
)
def test_damaged_notes_cost_a_build_and_nothing_else(shop: Workshop, content: bytes) -> None:
    shop.build()
    (shop.room / "state.json").write_bytes(content)
    place = shop.build()
    assert shop.runs() == 2
    assert (place / "dist/main.js").read_text() == "a\n"


def test_a_workspace_that_is_not_there_is_a_problem(shop: Workshop) -> None:
    shop.workspace = shop.source = "elsewhere"
    assert shop.fails().code == "build-unreadable"


def test_a_file_deleted_after_a_failed_build_is_gone(shop: Workshop) -> None:
    shop.command = (f"{COUNTED} && test ! -e hello/wrong && test ! -e wrong",)
    shop.write("hello/src/a.js", "a")
    shop.write("hello/wrong")
    secret = shop.write("hello/ui/deep/password.txt", "hunter2")
    link = shop.place / "ui/link"
    link.symlink_to("deep")
    shop.fails()
    secret.unlink()
    secret.parent.rmdir()
    link.unlink()
    (shop.place / "wrong").unlink()
    place = shop.build()
    assert not (place / "ui/deep").exists()
    assert not (place / "ui/link").is_symlink()


def test_a_file_deleted_after_a_run_was_killed_while_it_mirrored_is_gone(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write("hello/src/a.js", "a")
    secret = shop.write("hello/ui/password.txt", "hunter2")
    shop.write("hello/ui/z.txt")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(builds, "_state_after_mirroring", killed)
        with pytest.raises(KeyboardInterrupt):
            shop.build()
    assert (shop.room / "tree/ui/password.txt").exists()
    secret.unlink()
    assert not (shop.build() / "ui/password.txt").exists()


def test_what_was_made_of_a_deleted_file_is_gone(shop: Workshop) -> None:
    shop.command = ("mkdir -p ui target deps/node_modules; cp -R static/. ui/",)
    shop.command = (f"{shop.command[0]}; echo kept > target/x; echo kept > deps/node_modules/x",)
    shop.write("hello/static/a.css")
    shop.write("hello/static/old/password.txt", "hunter2")
    place = shop.build()
    (place / "target/CACHEDIR.TAG").write_text("")
    assert (place / "ui/old/password.txt").exists()
    shutil.rmtree(shop.place / "static/old")
    shop.command = ("mkdir -p ui && cp -R static/. ui/",)
    place = shop.build()
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


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=CHANGES)
def test_any_history_gives_what_a_fresh_clone_gives(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str, str]]
) -> None:
    shop = Workshop(tmp_path_factory.mktemp("history"), command=(MADE,))
    shop.write("hello/src/main.js", "main")
    for what, name, text in changes:
        if what in ("build", "fail"):
            _attempt(shop, fails=what == "fail")
        else:
            _change(shop.place, what, name, text)
    _attempt(shop, fails=False)
    fresh = Workshop(tmp_path_factory.mktemp("clone"), command=(MADE,))
    shutil.copytree(shop.place, fresh.place, symlinks=True)
    fresh.build()
    assert _content(shop.room / "tree") == _content(fresh.room / "tree")


def _attempt(shop: Workshop, *, fails: bool) -> None:
    wrong = shop.place / "wrong"
    if fails:
        wrong.write_text("")
        shop.fails()
        wrong.unlink()
    else:
        shop.build()


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
