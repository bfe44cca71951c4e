import os
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from algaenv.drivers.state import private_files, registry, state_dir
from algaenv.model.isolated import isolated_spec
from algaenv.model.lock import Environment
from algaenv.model.problem import Failed, Refused
from algaenv.model.resource import Json


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return state_dir.identify(tmp_path / "project" / "algaenv.yaml", "demo")


@pytest.fixture
def opened(environment: Environment) -> Path:
    environment.spec.parent.mkdir()
    return state_dir.open_state_dir(environment)


RECORD: dict[str, Json] = {"runtime": "process", "intent": {"name": "demo", "ports": [1, 2]}}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def everything(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino)
        for path in [root, *root.rglob("*")]
    }


def test_the_id_follows_the_real_path_and_not_the_name(tmp_path: Path) -> None:
    spec = tmp_path / "algaenv.yaml"
    link = tmp_path / "elsewhere"
    link.symlink_to(tmp_path)
    one, renamed = state_dir.identify(spec, "one"), state_dir.identify(spec, "two")
    assert one.id == renamed.id == state_dir.identify(link / "algaenv.yaml", "one").id
    assert len(one.id) == 10
    assert int(one.id, 16) >= 0
    assert one.home == tmp_path / ".algaenv" / one.id
    assert state_dir.identify(tmp_path / "copy" / "algaenv.yaml", "one").id != one.id
    assert not (tmp_path / ".algaenv").exists()


def brought_up(spec: Path) -> Environment:
    """An environment that has noted its spec, as every `up` does."""
    spec.parent.mkdir(parents=True, exist_ok=True)
    spec.touch()
    environment = state_dir.identify(spec, "demo")
    state_dir.save(environment, {"spec": str(spec), "intent": {}})
    (environment.home / "data").mkdir(exist_ok=True)
    (environment.home / "data/rows").write_bytes(b"x" * 100_000)
    return environment


def test_a_moved_checkout_keeps_its_environment(tmp_path: Path) -> None:
    old = brought_up(tmp_path / "old" / "algaenv.yaml")
    old.spec.parent.rename(tmp_path / "new")
    spec = tmp_path / "new" / "algaenv.yaml"
    before = everything(tmp_path)
    moved = state_dir.identify(spec, "demo")
    assert (moved.id, moved.spec) == (old.id, spec)
    assert (moved.home / "data/rows").exists()
    assert state_dir.find_orphaned_states(moved) == ()
    assert everything(tmp_path) == before, "looking writes nothing"
    # What a first look may leave under the new path's own id makes no difference.
    assert brought_up(spec).id == old.id
    # Once it is noted, it is no matter what comes to the old path.
    old.spec.parent.mkdir()
    old.spec.touch()
    assert state_dir.identify(spec, "demo").id == old.id


def test_a_new_checkout_at_the_old_path_is_another_environment(tmp_path: Path) -> None:
    """Containers and volumes are known by the id alone, and the moved one has it."""
    old = brought_up(tmp_path / "old" / "algaenv.yaml")
    old.spec.parent.rename(tmp_path / "new")
    moved = brought_up(tmp_path / "new" / "algaenv.yaml")
    old.spec.parent.mkdir()
    old.spec.touch()
    clone = state_dir.identify(old.spec, "demo")
    assert clone.id != moved.id
    assert brought_up(old.spec).id == clone.id
    assert state_dir.identify(old.spec, "demo") == clone
    # Once the moved one is gone for good, the path may have its id again.
    shutil.rmtree(moved.spec.parent)
    shutil.rmtree(old.spec.parent / ".algaenv")
    assert state_dir.identify(old.spec, "demo").id == moved.id


def test_a_checkout_that_comes_back_is_itself(tmp_path: Path) -> None:
    old = brought_up(tmp_path / "old" / "algaenv.yaml")
    old.spec.parent.rename(tmp_path / "new")
    brought_up(tmp_path / "new" / "algaenv.yaml")
    (tmp_path / "new").rename(tmp_path / "old")
    assert state_dir.identify(old.spec, "demo") == old


def test_a_copy_is_another_environment_and_says_what_came_along(tmp_path: Path) -> None:
    old = brought_up(tmp_path / "old" / "algaenv.yaml")
    shutil.copytree(old.spec.parent, tmp_path / "copy")
    copy = state_dir.identify(tmp_path / "copy" / "algaenv.yaml", "demo")
    assert copy.id != old.id
    (left,) = state_dir.find_orphaned_states(copy)
    assert (left.environment.id, left.environment.spec) == (old.id, old.spec)
    assert left.environment.home == copy.home.parent / old.id
    assert left.copied
    assert not left.here
    assert left.size >= 100_000
    state_dir.delete_copy(left.environment.home)
    assert state_dir.find_orphaned_states(copy) == ()
    assert not copy.home.parent.exists()
    assert (old.home / "data/rows").exists()


def test_state_is_not_mixed_with_state_that_is_there(tmp_path: Path) -> None:
    old = brought_up(tmp_path / "old" / "algaenv.yaml")
    new = brought_up(tmp_path / "new" / "algaenv.yaml")
    old.home.rename(new.home.parent / old.id)
    shutil.rmtree(tmp_path / "old")
    assert state_dir.identify(new.spec, "demo") == new
    (left,) = state_dir.find_orphaned_states(new)
    assert (left.environment.id, left.copied, left.here) == (old.id, False, False)


def test_of_two_that_were_moved_to_one_place_none_is_guessed(tmp_path: Path) -> None:
    first, second = (brought_up(tmp_path / name / "algaenv.yaml") for name in ("one", "two"))
    first.spec.parent.rename(tmp_path / "new")
    second.home.rename(tmp_path / "new" / ".algaenv" / second.id)
    shutil.rmtree(tmp_path / "two")
    found = state_dir.identify(tmp_path / "new" / "algaenv.yaml", "demo")
    assert found.id not in {first.id, second.id}
    assert {it.environment.id for it in state_dir.find_orphaned_states(found)} == {
        first.id,
        second.id,
    }


def test_a_renamed_spec_says_what_was_left(tmp_path: Path) -> None:
    old = brought_up(tmp_path / "algaenv.yaml")
    other = brought_up(tmp_path / "other.yaml")
    old.spec.rename(tmp_path / "dev.yaml")
    dev = state_dir.identify(tmp_path / "dev.yaml", "demo")
    assert dev.id not in {old.id, other.id}
    (left,) = state_dir.find_orphaned_states(dev)
    assert (left.environment.id, left.copied, left.here) == (old.id, False, True)


@pytest.mark.parametrize("record", [b"{", b"[]", b"{}", b'{"spec": 1}', b'{"spec": "relative"}'])
def test_a_damaged_home_beside_is_no_candidate(tmp_path: Path, record: bytes) -> None:
    old = brought_up(tmp_path / "old" / "algaenv.yaml")
    (old.home / "last.json").write_bytes(record)
    old.spec.parent.rename(tmp_path / "new")
    found = state_dir.identify(tmp_path / "new" / "algaenv.yaml", "demo")
    assert found.id != old.id
    assert state_dir.find_orphaned_states(found) == ()


def test_a_home_is_private_and_ignored_by_git(environment: Environment, opened: Path) -> None:
    assert opened == environment.home
    assert mode(opened) == mode(opened.parent) == 0o700
    assert (opened.parent / ".gitignore").read_text() == "*\n"


def test_opening_again_writes_nothing(environment: Environment, opened: Path) -> None:
    before = everything(opened.parent)
    state_dir.open_state_dir(environment)
    assert everything(opened.parent) == before


def test_a_home_left_open_to_others_is_closed(environment: Environment, opened: Path) -> None:
    opened.chmod(0o755)
    state_dir.open_state_dir(environment)
    assert mode(opened) == 0o700


@pytest.mark.parametrize("which", ["shared", "own"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_home_that_is_no_directory_is_refused(
    environment: Environment, tmp_path: Path, which: str, kind: str
) -> None:
    target = environment.home if which == "own" else environment.home.parent
    target.parent.mkdir(parents=True)
    if kind == "link":
        (tmp_path / "trap").mkdir(mode=0o700)
        target.symlink_to(tmp_path / "trap")
    else:
        target.write_text("")
    with pytest.raises(Refused) as caught:
        state_dir.open_state_dir(environment)
    assert caught.value.problem.code == "home-unsafe"
    assert str(target) in caught.value.problem.summary


def test_a_home_of_another_user_is_refused(environment: Environment, opened: Path) -> None:
    state_dir.save(environment, RECORD)
    uses: list[Callable[[], object]] = [lambda: state_dir.open_state_dir(environment)]
    if os.geteuid() == 0:
        owner = 65534
        os.chown(opened, owner, owner)
        uses += [lambda: state_dir.load(environment), lambda: state_dir.delete(environment)]
    else:
        # Only root can give a directory away, but there is one that is root's.
        owner, environment = 0, replace(environment, home=Path("/etc/algaenv"))
    for use in uses:
        with pytest.raises(Refused) as caught:
            use()
        assert caught.value.problem.code == "home-unsafe"
        assert f"user {owner}" in caught.value.problem.hint


def test_no_directory_for_the_home_is_a_problem(environment: Environment) -> None:
    with pytest.raises(Failed) as caught:
        state_dir.open_state_dir(environment)
    assert caught.value.problem.code == "home-broken"


IN_A_SMALL_WORLD = """
import ctypes, os, sys
from pathlib import Path
from algaenv.drivers.state import private_files, registry, state_dir
from algaenv.model.isolated import isolated_spec
from algaenv.model.problem import Failed
from algaenv.model.resource import Json

libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.geteuid(), os.getegid()
if libc.unshare(0x10000000 | 0x00020000):
    sys.exit(77)
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
place = Path(sys.argv[1])
if libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, b"size=64k"):
    sys.exit(77)
environment = state_dir.identify(place / "algaenv.yaml", "demo")

def said(use):
    try:
        use()
    except Failed as error:
        print(error.problem.code, "|", error.problem.summary)
    else:
        print("fine")

if sys.argv[2] == "full":
    state_dir.open_state_dir(environment)
    said(lambda: private_files.write_private(environment.home / "big", bytes(100_000)))
    said(lambda: private_files.write_private(environment.home / "small", b"small"))
    print(sorted(path.name for path in environment.home.iterdir()))
else:
    REMOUNT_READ_ONLY = 32 | 1
    if sys.argv[2] == "opened":
        state_dir.open_state_dir(environment)
    if libc.mount(None, os.fsencode(place), None, REMOUNT_READ_ONLY, None):
        sys.exit(77)
    said(lambda: state_dir.open_state_dir(environment))
    said(lambda: private_files.write_private(environment.home / "small", b"small"))
"""


def in_a_small_world(tmp_path: Path, what: str) -> list[str]:
    """On a file system of its own, 64 KiB large, which no other process sees."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IN_A_SMALL_WORLD), str(tmp_path), what],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this machine lets nobody mount in a user namespace")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    big, small, left = in_a_small_world(tmp_path, "full")
    assert big.startswith("disk-full | cannot write")
    assert small == "fine"
    assert left == "['small']"


def test_a_read_only_file_system_is_said(tmp_path: Path) -> None:
    opening, _ = in_a_small_world(tmp_path, "fresh")
    assert opening.startswith("home-unwritable | cannot write")
    assert "read-only" in opening


def test_an_opened_home_can_be_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    opening, keeping = in_a_small_world(tmp_path, "opened")
    assert opening == "fine"
    assert keeping.startswith("home-unwritable | cannot write")


def test_what_is_kept_is_private_and_written_once(opened: Path) -> None:
    path = opened / "thing.json"
    private_files.write_private(path, b"one")
    before = everything(opened)
    private_files.write_private(path, b"one")
    assert everything(opened) == before
    assert mode(path) == 0o600
    private_files.write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert [found.name for found in opened.iterdir()] == ["thing.json"]


def test_a_file_is_closed_to_others_when_it_is_read(opened: Path) -> None:
    path = opened / "thing.json"
    path.write_bytes(b"one")
    path.chmod(0o644)
    assert private_files.read_private(path) == b"one"
    assert mode(path) == 0o600


def test_neither_reading_nor_keeping_follows_a_link(opened: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"theirs")
    (opened / "thing.json").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic"):
        private_files.read_private(opened / "thing.json")
    private_files.write_private(opened / "thing.json", b"ours")
    assert outside.read_bytes() == b"theirs"
    assert (opened / "thing.json").read_bytes() == b"ours"


def test_a_record_comes_back(environment: Environment, opened: Path) -> None:
    assert state_dir.load(environment) is None
    state_dir.save(environment, RECORD)
    assert state_dir.load(environment) == RECORD
    before = everything(opened)
    state_dir.save(environment, RECORD)
    assert everything(opened) == before
    state_dir.save(environment, RECORD | {"runtime": "docker"})
    assert state_dir.load(environment) == RECORD | {"runtime": "docker"}
    assert mode(opened / "last.json") == 0o600


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"null", b"1", b"[" * 100_000])
def test_a_damaged_record_counts_as_none(
    environment: Environment, opened: Path, content: bytes
) -> None:
    (opened / "last.json").write_bytes(content)
    assert state_dir.load(environment) is None


def test_forgetting_leaves_no_trace(environment: Environment, opened: Path) -> None:
    state_dir.save(environment, RECORD)
    for name in ("build/hello/tree/src", "cache/bundles/hello", "logs", "data/store", "run", "etc"):
        (opened / name).mkdir(parents=True)
    (opened / "cache/bundles/hello/x.tar.zst").write_bytes(b"x")
    (opened / "logs/runner.log").write_text("line\n")
    for name in ("lock", "settling", "secrets.json", "ports.json", "last.json"):
        (opened / name).write_text("{}")
    assert state_dir.delete(environment) == ()
    assert list(environment.spec.parent.iterdir()) == []
    assert state_dir.delete(environment) == ()


def test_forgetting_spares_what_is_not_ours(environment: Environment, opened: Path) -> None:
    (opened / "data/database-postgres").mkdir(parents=True)
    (opened / "data/database-postgres/PG_VERSION").write_text("18\n")
    (opened / "notes.txt").write_text("mine\n")
    (opened / "lock").write_text("")
    (opened / "cache").mkdir()
    assert state_dir.delete(environment) == ("data", "notes.txt")
    assert (opened / "notes.txt").read_text() == "mine\n"
    assert (opened / "data/database-postgres/PG_VERSION").exists()
    assert (opened / "lock").exists()
    assert not (opened / "cache").exists()


def test_forgetting_spares_other_environments(environment: Environment, opened: Path) -> None:
    other = state_dir.identify(environment.spec.with_name("other.yaml"), "other")
    state_dir.open_state_dir(other)
    state_dir.delete(environment)
    assert not opened.exists()
    assert other.home.is_dir()
    assert (other.home.parent / ".gitignore").exists()


ASIDE = (".secrets.json.4711.0a1b2c3d", ".last.json.1.ffffffff", "cache/.spec-x1y2")


def test_what_was_being_written_by_a_killed_run_is_swept(
    environment: Environment, opened: Path
) -> None:
    state_dir.save(environment, RECORD)
    (opened / "cache").mkdir()
    for name in (*ASIDE, ".mine", "cache/.spec-new"):
        (opened / name).write_text("secret")
    os.utime(opened / ASIDE[2], (1, 1))
    state_dir.remove_leftover_files(environment)
    assert not [name for name in ASIDE if (opened / name).exists()]
    assert (opened / ".mine").exists()
    assert (opened / "last.json").exists()
    assert (opened / "cache/.spec-new").exists(), "a `plan` may be writing it right now"


def test_forgetting_takes_what_was_being_written(environment: Environment, opened: Path) -> None:
    (opened / ASIDE[0]).write_text("secret")
    assert state_dir.delete(environment) == ()
    assert list(environment.spec.parent.iterdir()) == []


def test_what_cannot_be_removed_is_told_and_the_rest_goes(
    environment: Environment, opened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_dir.save(environment, RECORD)
    (opened / "logs").mkdir()
    real = private_files.remove_path

    def remove(path: Path) -> None:
        if path.name == "logs":
            raise PermissionError(1, "Operation not permitted", str(path))
        real(path)

    monkeypatch.setattr(state_dir, "remove_path", remove)
    with pytest.raises(Failed) as caught:
        state_dir.delete(environment)
    (problem,) = caught.value.problems
    assert problem.code == "left-behind"
    assert str(opened / "logs") in problem.summary
    assert not (opened / "last.json").exists()


def test_what_stays_deep_in_a_directory_is_told_with_its_place(
    environment: Environment, opened: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(path: Path) -> None:
        if path.name == "logs":
            # As shutil.rmtree raises it, which works with names within an open directory.
            raise PermissionError(1, "Operation not permitted", "x")

    monkeypatch.setattr(state_dir, "remove_path", remove)
    with pytest.raises(Failed) as caught:
        state_dir.delete(environment)
    assert f"cannot remove x in {opened / 'logs'}:" in caught.value.problem.summary


def test_forgetting_follows_no_link(environment: Environment, opened: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "empty").mkdir(parents=True)
    (outside / "precious").write_text("precious")
    (opened / "cache").symlink_to(outside)
    (opened / "run").symlink_to(outside)
    (opened / "build/hello").mkdir(parents=True)
    (opened / "build/hello/node_modules").symlink_to(outside)
    assert state_dir.delete(environment) == ("run",)
    assert (outside / "precious").read_text() == "precious"
    assert (outside / "empty").is_dir()
    assert not (opened / "cache").is_symlink()


def test_forgetting_opens_what_a_build_has_closed(environment: Environment, opened: Path) -> None:
    closed = opened / "build/hello/tree/cache/module"
    closed.mkdir(parents=True)
    (closed / "file").write_text("x")
    closed.chmod(0o500)
    closed.parent.chmod(0o500)
    if os.geteuid() == 0:
        # Root may remove it in any case; as nobody it takes the permission.
        as_nobody(environment)
    else:
        state_dir.delete(environment)
    assert not opened.exists()


def as_nobody(environment: Environment) -> None:
    root = environment.spec.parent
    for path in [root, *root.rglob("*")]:
        os.chown(path, 65534, 65534, follow_symlinks=False)
    reachable = [root.parent, *root.parent.parents]
    closed = [path for path in reachable if not mode(path) & 0o001]
    code = "\n".join(
        [
            "import os, sys",
            "from pathlib import Path",
            "from algaenv.drivers.state import private_files, state_dir",
            "environment = state_dir.identify(Path(sys.argv[1]), 'demo')",
            "import shutil, fcntl",  # loaded while it may still be read
            "os.setgid(65534); os.setuid(65534)",
            "state_dir.delete(environment)",
        ]
    )
    before = {path: mode(path) for path in closed}
    try:
        for path in closed:
            path.chmod(before[path] | 0o001)
        subprocess.run([sys.executable, "-c", code, str(environment.spec)], check=True)
    finally:
        for path, was in before.items():
            path.chmod(was)


def test_an_isolated_environment_lies_below_the_state_of_its_spec(tmp_path: Path) -> None:
    first = brought_up(tmp_path / "algaenv.yaml")
    path = isolated_spec(first.spec, "feature")
    second = state_dir.identify(path, "demo-feature")
    assert not path.exists()
    state_dir.save(second, {"spec": str(path), "intent": {}})
    assert second.id not in (first.id, state_dir.identify(isolated_spec(first.spec, "x"), "").id)
    assert second.home == path.parent / ".algaenv" / second.id
    assert path.is_file()
    for directory in (tmp_path / ".algaenv", path.parents[1], path.parent, second.home):
        assert mode(directory) == 0o700
    assert (tmp_path / ".algaenv/.gitignore").read_text() == "*\n"
    assert state_dir.find_orphaned_states(first) == state_dir.find_orphaned_states(second) == ()
    assert {it.id for it in registry.noted()} >= {first.id, second.id}
    assert state_dir.delete(second) == ()
    assert sorted(it.name for it in (tmp_path / ".algaenv").iterdir()) == [".gitignore", first.id]
    assert (first.home / "data/rows").exists()


def test_the_first_environment_goes_and_leaves_the_isolated_one(tmp_path: Path) -> None:
    first = brought_up(tmp_path / "algaenv.yaml")
    second = brought_up(isolated_spec(first.spec, "feature"))
    shutil.rmtree(first.home / "data")
    assert state_dir.delete(first) == ()
    assert (second.home / "data/rows").exists()
    shutil.rmtree(second.home / "data")
    assert state_dir.delete(second) == ()
    assert not (tmp_path / ".algaenv").exists()


def test_an_isolated_environment_moves_with_its_checkout(tmp_path: Path) -> None:
    old = brought_up(isolated_spec(tmp_path / "old" / "algaenv.yaml", "feature"))
    (tmp_path / "old").rename(tmp_path / "new")
    moved = state_dir.identify(isolated_spec(tmp_path / "new" / "algaenv.yaml", "feature"), "demo")
    assert moved.id == old.id
    assert (moved.home / "data/rows").exists()
