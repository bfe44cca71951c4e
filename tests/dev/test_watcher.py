"""Files as editors and tools write them: what is delivered, and how often."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from algaenv.dev.contents import ContentIndex
from algaenv.dev.watcher import Changes, Targets, Watcher
from algaenv.drivers.build.watched import Watched
from algaenv.model.problem import Failed

QUIET_SECONDS = 0.6
"""After so long without a delivery, all that was changed has been delivered."""


def source(root: Path) -> Watched:
    """The files of one extension, but for what tools make."""

    def enters(directory: str | os.PathLike[str]) -> bool:
        return not {"node_modules", "out"} & set(Path(directory).parts)

    def counts(path: str | os.PathLike[str]) -> bool:
        return enters(Path(path).parent) and not Path(path).name.endswith((".swp", "~"))

    return Watched((root,), counts, enters)


class Watch:
    """A watcher over `hello` and `other`, and the spec beside them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.hello, self.other = root / "hello", root / "other"
        self.spec = root / "algaenv.yaml"
        self.spec.write_text("version: 1\n")
        for source in (self.hello, self.other):
            (source / "ui").mkdir(parents=True)
            (source / "ui" / "index.html").write_text("first")
        (self.hello / "node_modules").mkdir()
        self.delivered: queue.SimpleQueue[Changes | Failed] = queue.SimpleQueue()
        self.watcher = Watcher(self.delivered.put)

    def start(self) -> None:
        sources = {"hello": source(self.hello), "other": source(self.other)}
        self.watcher.watch(Targets(sources, (str(self.spec),)))

    def changes(self, seconds: float = 10) -> Changes:
        """The next delivery."""
        found = self.delivered.get(timeout=seconds)
        assert isinstance(found, Changes), found
        return found

    def all(self) -> list[Changes]:
        """At least one, and those that follow until nothing more comes."""
        found = [self.changes()]
        while True:
            try:
                found.append(self.changes(QUIET_SECONDS))
            except queue.Empty:
                return found


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    made = Watch(tmp_path)
    made.start()
    yield made
    made.watcher.stop()


def write(file: Path) -> None:
    file.write_text("second")


def rename_over(file: Path) -> None:
    other = file.with_name(".index.html.swp")
    other.write_text("second")
    other.replace(file)


def back_up_and_write(file: Path) -> None:
    file.rename(file.with_name("index.html~"))
    file.write_text("second")


def truncate_then_write(file: Path) -> None:
    with file.open("w") as opened:
        opened.flush()
        os.fsync(opened.fileno())
        opened.write("second")


def in_pieces(file: Path) -> None:
    with file.open("w") as opened:
        for letter in "second":
            opened.write(letter)
            opened.flush()


def delete_and_create(file: Path) -> None:
    file.unlink()
    file.write_text("second")


@pytest.mark.parametrize(
    "save",
    [write, rename_over, back_up_and_write, truncate_then_write, in_pieces, delete_and_create],
)
def test_a_save_is_one_change(watch: Watch, save: Callable[[Path], None]) -> None:
    file = watch.hello / "ui" / "index.html"
    save(file)
    changed = [it for it in watch.all() if it.extensions]
    assert [it.extensions for it in changed] == [{"hello": (str(file),)}]


def test_a_save_of_the_same_content_is_none(watch: Watch) -> None:
    (watch.hello / "ui" / "other.html").write_text("it watches")
    watch.all()
    file = watch.hello / "ui" / "index.html"
    file.write_text("first")
    assert watch.changes() == Changes((), {}, saved=(str(file),))


def test_what_does_not_count_wakes_nobody(watch: Watch) -> None:
    for number in range(50):
        (watch.hello / "node_modules" / f"{number}.js").write_text("x")
    (watch.root / "notes.txt").write_text("x")
    (watch.hello / "ui" / "index.html~").write_text("x")
    with pytest.raises(queue.Empty):
        watch.changes(QUIET_SECONDS)


def test_the_spec_and_an_extension(watch: Watch) -> None:
    watch.spec.write_text("version: 1\nname: other\n")
    (watch.other / "manifest.json").write_text("{}")
    found = watch.all()
    assert {it for each in found for it in each.spec} == {str(watch.spec)}
    assert {it for each in found for it in each.extensions} == {"other"}


def test_a_spec_that_vanishes_and_returns(watch: Watch) -> None:
    watch.spec.unlink()
    assert watch.changes().spec == (str(watch.spec),)
    watch.spec.write_text("version: 1\n")
    assert watch.changes().spec == (str(watch.spec),)


def test_new_directories_are_watched(watch: Watch) -> None:
    deep = watch.hello / "ui" / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "one.css").write_text("1")
    found = {it for each in watch.all() for it in each.extensions["hello"]}
    assert found == {str(deep / "one.css")}
    (deep / "two.css").write_text("2")
    assert watch.changes().extensions == {"hello": (str(deep / "two.css"),)}
    shutil.rmtree(watch.hello / "ui" / "a")
    gone = {it for each in watch.all() for it in each.extensions["hello"]}
    assert gone == {str(deep / "one.css"), str(deep / "two.css")}


def test_a_source_that_is_replaced_as_a_whole(watch: Watch) -> None:
    fresh = watch.root / "fresh"
    (fresh / "ui").mkdir(parents=True)
    (fresh / "ui" / "index.html").write_text("second")
    watch.hello.rename(watch.root / "old")
    fresh.rename(watch.hello)
    file = str(watch.hello / "ui" / "index.html")
    assert {it for each in watch.all() for it in each.extensions.get("hello", ())} == {file}
    (watch.hello / "ui" / "index.html").write_text("third")
    assert watch.changes().extensions == {"hello": (file,)}


def test_a_source_that_vanishes_and_returns(watch: Watch) -> None:
    shutil.rmtree(watch.hello)
    assert set(watch.changes().extensions) == {"hello"}
    (watch.hello / "ui").mkdir(parents=True)
    (watch.hello / "ui" / "index.html").write_text("second")
    assert {it for each in watch.all() for it in each.extensions} == {"hello"}


def test_a_checkout_of_500_files_is_one_change(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    many = watch.hello / "ui" / "many"
    many.mkdir()
    git = ["git", "-C", str(watch.hello), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    for text in ("one", "two"):
        for number in range(500):
            (many / f"{number}.txt").write_text(f"{text} {number}")
        subprocess.run([*git, "add", "ui"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", text], check=True)
    watch.start()
    try:
        subprocess.run([*git, "checkout", "-q", "HEAD~1"], check=True)
        found = [it for it in watch.all() if it.extensions]
        files = [it for each in found for it in each.extensions["hello"] if "/many/" in it]
        assert (len(found), len(files)) == (1, 500)
    finally:
        watch.watcher.stop()


def test_files_in_new_directories_of_a_checkout_are_part_of_it(watch: Watch) -> None:
    for number in range(30):
        directory = watch.hello / "ui" / f"{number}"
        directory.mkdir()
        for name in range(10):
            (directory / f"{name}.txt").write_text("new")
    found = [it for it in watch.all() if it.extensions]
    assert sum(len(it.extensions["hello"]) for it in found) == 300


def test_watching_costs_next_to_nothing(watch: Watch) -> None:
    before = time.process_time()
    with pytest.raises(queue.Empty):
        watch.changes(2)
    assert time.process_time() - before < 0.1


def test_nothing_comes_after_the_end(watch: Watch) -> None:
    watch.watcher.stop()
    (watch.hello / "ui" / "index.html").write_text("second")
    with pytest.raises(queue.Empty):
        watch.changes(QUIET_SECONDS)


def test_links_and_odd_files(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("1")
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "link.txt").symlink_to(tmp_path / "real.txt")
    (directory / "loop").symlink_to(directory)
    (directory / "broken").symlink_to("nowhere")
    os.mkfifo(directory / "pipe")
    index = ContentIndex(lambda _: True, lambda _: True)
    assert index.update([str(directory)]) == {str(directory / it) for it in ("link.txt", "pipe")}
    assert index.directories == {str(directory)}
    (tmp_path / "real.txt").write_text("22")
    assert index.update([str(directory)]) == {str(directory / "link.txt")}
    assert index.update([str(directory)]) == set()


def test_the_file_that_a_link_leads_to_is_watched(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "style.css").write_text("1")
    watch = Watch(tmp_path)
    link = watch.hello / "ui" / "style.css"
    link.symlink_to(shared / "style.css")
    (watch.hello / "ui" / "itself").symlink_to("itself")
    watch.start()
    try:
        (shared / "style.css").write_text("2")
        assert {it for each in watch.all() for it in each.extensions["hello"]} == {str(link)}
    finally:
        watch.watcher.stop()


def test_a_lock_of_git_that_stays_holds_nothing_back(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    (watch.hello / ".git").mkdir()
    lock = watch.hello / ".git" / "index.lock"
    lock.touch()
    os.utime(lock, (1, 1))
    watch.start()
    try:
        (watch.hello / "ui" / "index.html").write_text("second")
        assert set(watch.changes(5).extensions) == {"hello"}
    finally:
        watch.watcher.stop()


def test_a_watch_that_the_kernel_refuses_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import watchfiles

    monkeypatch.setattr("algaenv.dev.watcher._FAILED_SECONDS", 0.05)
    real, left = watchfiles.watch, [2]

    def refuses(*paths: str, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OSError(28, "No space left on device")
        yield from real(*paths, **options)

    monkeypatch.setattr(watchfiles, "watch", refuses)
    watch = Watch(tmp_path)
    watch.start()
    try:
        failed = watch.delivered.get(timeout=10)
        assert isinstance(failed, Failed)
        assert failed.problem.code == "watch-failed"
        (watch.hello / "ui" / "index.html").write_text("second")
        assert set(watch.changes().extensions) == {"hello"}
    finally:
        watch.watcher.stop()
