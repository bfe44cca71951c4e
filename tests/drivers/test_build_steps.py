"""Steps of a build: which run, which outputs are kept, and what is told of globs."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algaenv.drivers.build.builds import Built, build
from algaenv.drivers.state import state_dir
from algaenv.model.intent import BuildIntent, BuildStep, ExtensionIntent
from algaenv.model.lock import Environment
from algaenv.model.problem import ResolveError, Where

WHERE = Where("algaenv.yaml", 7, 13)
INPUTS = Where("algaenv.yaml", 9, 20)


def step(
    name: str,
    command: str,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    *,
    ignore: Sequence[str] = (),
) -> BuildStep:
    files = (tuple(inputs), tuple(outputs), tuple(ignore))
    logged = f"echo {name} >> $RUNS && {command}"
    return BuildStep(name, (logged,), True, {}, 60.0, *files, INPUTS)


@dataclass
class StepProject:
    """An extension that is built in steps, which note that they ran in a file outside."""

    root: Path
    steps: Sequence[BuildStep] = ()
    workspace: str = "hello"
    messages: list[str] = field(default_factory=list)
    path: str = os.environ["PATH"]

    @property
    def environment(self) -> Environment:
        return state_dir.identify(self.root / "algaenv.yaml", "demo")

    @property
    def build_directory(self) -> Path:
        return self.environment.home / "build/hello"

    def write(self, name: str, text: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def build(self) -> Built:
        made = BuildIntent(tuple(self.steps), str(self.root / self.workspace), {}, 60.0)
        intent = ExtensionIntent(
            "hello", str(self.root / "hello"), made, {}, {}, None, True, None, WHERE
        )
        environ = {**os.environ, "RUNS": str(self.root / "runs"), "PATH": self.path}
        return build(intent, self.environment, self.messages.append, environ=environ)

    def ran(self) -> list[str]:
        """The steps that ran since this was last asked."""
        runs = self.root / "runs"
        found = runs.read_text().split() if runs.exists() else []
        runs.unlink(missing_ok=True)
        return found


SCRIPT = step("script", "mkdir -p dist/js && cat src/*.js > dist/js/all.js", ["src"], ["dist/js"])
COMPONENT = step(
    "component", "(date +%N; cat dist/js/all.js) > dist/main.wasm", ["dist/js"], ["dist/main.wasm"]
)
PAGE = step(
    "page", "mkdir -p dist/ui && cp -R web/. dist/ui/", ["web"], ["dist/ui"], ignore=["web/*.draft"]
)


@pytest.fixture
def project(tmp_path: Path) -> StepProject:
    made = StepProject(tmp_path, (SCRIPT, COMPONENT, PAGE))
    made.write("hello/manifest.json", "{}")
    made.write("hello/src/a.js", "a\n")
    made.write("hello/web/index.html", "page\n")
    return made


def test_a_step_runs_only_when_its_inputs_have_changed(project: StepProject) -> None:
    place = project.build().place
    assert project.ran() == ["script", "component", "page"]
    component = (place / "dist/main.wasm").read_bytes()
    project.write("hello/web/index.html", "another\n")
    project.build()
    assert project.ran() == ["page"]
    assert (place / "dist/ui/index.html").read_text() == "another\n"
    assert (place / "dist/main.wasm").read_bytes() == component
    project.write("hello/src/a.js", "b\n")
    project.build()
    assert project.ran() == ["script", "component"]
    assert (place / "dist/main.wasm").read_bytes().endswith(b"b\n")


def test_a_step_whose_inputs_come_out_the_same_does_not_run(project: StepProject) -> None:
    project.steps = (
        step(
            "script",
            "mkdir -p dist/js && grep -hv // src/*.js > dist/js/all.js",
            ["src"],
            ["dist/js"],
        ),
        COMPONENT,
    )
    project.build()
    project.ran()
    project.write("hello/src/b.js", "// only a comment\n")
    project.build()
    assert project.ran() == ["script"]


def test_a_file_that_is_no_input_is_brought_over_and_nothing_runs(project: StepProject) -> None:
    place = project.build().place
    project.ran()
    project.write("hello/manifest.json", '{"name": "x"}')
    project.write("hello/notes.txt")
    project.build()
    assert project.ran() == []
    assert (place / "manifest.json").read_text() == '{"name": "x"}'


def test_what_never_counts(project: StepProject) -> None:
    project.steps = (step("all", "mkdir -p dist && cat src/*.js > dist/x.js"),)
    project.build()
    project.ran()
    for name in ("algaenv.yaml", "README.md", "docs/README.md", "src/.a.js.swp", "src/a.js~"):
        project.write(f"hello/{name}", "x")
    place = project.build().place
    # A directory is something that a command may list.
    assert project.ran() == ["all"]
    for name in ("algaenv.yaml", "README.md", "docs/README.md", "src/.a.js.swp"):
        project.write(f"hello/{name}", "y")
    project.build()
    assert project.ran() == []
    assert (place / "README.md").read_text() == "y"
    assert not (place / "src/.a.js.swp").exists()


def test_a_readme_that_is_named_counts(project: StepProject) -> None:
    project.write("hello/README.md", "x")
    project.steps = (step("all", "true", ["README.md"]),)
    project.build()
    project.ran()
    project.write("hello/README.md", "y")
    project.build()
    assert project.ran() == ["all"]


def test_what_is_ignored_does_not_count(project: StepProject) -> None:
    project.write("hello/web/x.draft", "1")
    project.build()
    project.ran()
    project.write("hello/web/x.draft", "2")
    project.build()
    assert project.ran() == []


def test_outputs_come_back_byte_for_byte(project: StepProject) -> None:
    """Where a later step, or somebody, has removed or changed them."""
    place = project.build().place
    component = (place / "dist/main.wasm").read_bytes()
    (place / "dist/main.wasm").chmod(0o755)
    (place / "dist/js/all.js").unlink()
    (place / "dist/ui/index.html").write_text("tampered")
    (place / "dist/ui/extra.html").write_text("")
    project.ran()
    project.build()
    assert project.ran() == []
    assert (place / "dist/main.wasm").read_bytes() == component
    assert stat.S_IMODE((place / "dist/main.wasm").stat().st_mode) & 0o111 == 0
    assert (place / "dist/js/all.js").read_text() == "a\n"
    assert (place / "dist/ui/index.html").read_text() == "page\n"
    assert not (place / "dist/ui/extra.html").exists()


def test_a_step_that_tidies_up_does_not_make_others_run(project: StepProject) -> None:
    clean = step(
        "page", "rm -rf dist/js && mkdir -p dist/ui && cp web/* dist/ui", ["web"], ["dist/ui"]
    )
    project.steps = (SCRIPT, COMPONENT, clean)
    place = project.build().place
    component = (place / "dist/main.wasm").read_bytes()
    project.ran()
    project.build()
    assert project.ran() == []
    project.write("hello/web/index.html", "another\n")
    project.build()
    assert project.ran() == ["page"]
    assert (place / "dist/main.wasm").read_bytes() == component


def test_a_step_that_empties_its_directory_first_takes_no_file_of_another(
    project: StepProject,
) -> None:
    """As Vite does with `dist` unless it is told another."""
    emptied = step("page", "rm -rf dist && mkdir dist && cp web/* dist", ["web"], ["dist/*.html"])
    project.steps = (SCRIPT, COMPONENT, emptied)
    place = project.build().place
    assert (place / "dist/index.html").exists()
    assert (place / "dist/main.wasm").read_bytes().endswith(b"a\n")
    project.write("hello/web/index.html", "another\n")
    project.ran()
    project.build()
    assert project.ran() == ["page"]
    assert (place / "dist/main.wasm").read_bytes().endswith(b"a\n")


def test_outputs_of_two_steps_in_one_directory(project: StepProject) -> None:
    """The newer component is not replaced by the one that lay there when the page was made."""
    page = step("page", "mkdir -p dist && cp web/* dist", ["web"], ["dist"])
    for steps in ((SCRIPT, COMPONENT, page), (page, SCRIPT, COMPONENT)):
        project.steps = steps
        for text in ("b\n", "c\n"):
            project.write("hello/src/a.js", f"{steps[0].name} {text}")
            place = project.build().place
            project.ran()
            assert (place / "dist/main.wasm").read_bytes().endswith(text.encode())
            project.write("hello/web/index.html", f"page of {steps[0].name} {text}")
            project.build()
            assert project.ran() == ["page"]
            assert (place / "dist/main.wasm").read_bytes().endswith(text.encode())
            assert (place / "dist/index.html").read_text() == f"page of {steps[0].name} {text}"


def test_a_step_that_improves_what_another_made(project: StepProject) -> None:
    better = step("better", "echo better >> dist/main.wasm", ["dist/main.wasm"], ["dist/main.wasm"])
    project.steps = (SCRIPT, COMPONENT, better, PAGE)
    place = project.build().place
    component = (place / "dist/main.wasm").read_bytes()
    assert component.endswith(b"a\nbetter\n")
    project.ran()
    project.write("hello/web/index.html", "another\n")
    project.build()
    assert project.ran() == ["page"]
    assert (place / "dist/main.wasm").read_bytes() == component
    project.write("hello/src/a.js", "b\n")
    project.build()
    assert project.ran() == ["script", "component", "better"]
    assert (place / "dist/main.wasm").read_bytes().endswith(b"b\nbetter\n")


def test_an_edit_that_is_taken_back_runs_nothing(project: StepProject) -> None:
    place = project.build().place
    component = (place / "dist/main.wasm").read_bytes()
    project.write("hello/src/a.js", "b\n")
    project.build()
    project.write("hello/src/a.js", "a\n")
    project.ran()
    project.build()
    assert project.ran() == []
    assert (place / "dist/main.wasm").read_bytes() == component


def test_a_deleted_file_is_gone_from_what_is_made_of_it(project: StepProject) -> None:
    project.write("hello/web/secret.txt", "hunter2")
    place = project.build().place
    assert (place / "dist/ui/secret.txt").exists()
    (project.root / "hello/web/secret.txt").unlink()
    project.ran()
    project.build()
    assert project.ran() == ["page"]
    assert not (place / "dist/ui/secret.txt").exists()
    assert (place / "dist/main.wasm").exists()


def test_a_step_that_fails_costs_the_others_nothing(project: StepProject) -> None:
    broken = step("page", "mkdir -p dist/ui; echo half > dist/ui/half; false", ["web"], ["dist/ui"])
    project.steps = (SCRIPT, COMPONENT, broken)
    with pytest.raises(ResolveError) as caught:
        project.build()
    assert caught.value.problem.code == "build-failed"
    project.ran()
    with pytest.raises(ResolveError):
        project.build()
    assert project.ran() == ["page"]


def test_what_a_failed_run_left_is_gone_once_the_edit_is_taken_back(project: StepProject) -> None:
    fails = (
        "mkdir -p dist/ui; cp web/* dist/ui; test ! -e web/wrong || { echo > dist/ui/half; false; }"
    )
    project.steps = (step("page", fails, ["web"], ["dist/ui"]),)
    place = project.build().place
    wrong = project.write("hello/web/wrong")
    with pytest.raises(ResolveError):
        project.build()
    wrong.unlink()
    project.ran()
    project.build()
    assert project.ran() == []
    assert [it.name for it in (place / "dist/ui").iterdir()] == ["index.html"]


def test_files_of_a_step_without_outputs_are_made_again(project: StepProject) -> None:
    project.steps = (step("script", "mkdir -p dist; cat src/* > dist/x", ["src"]), PAGE)
    place = project.build().place
    project.ran()
    project.write("hello/web/index.html", "another\n")
    project.build()
    assert project.ran() == ["page"]
    (place / "dist/x").unlink()
    project.build()
    assert project.ran() == ["script"]


def test_an_output_in_a_cache_directory(project: StepProject) -> None:
    """Cargo marks its directory as a cache, which is otherwise no part of a workspace."""
    project.steps = (
        step(
            "cargo",
            "mkdir -p target/r && touch target/CACHEDIR.TAG && cp src/a.js target/r/x",
            ["src"],
            ["target/r/*"],
        ),
        step("copy", "mkdir -p dist && cp target/r/x dist/x", ["target/r/x"], ["dist/x"]),
    )
    place = project.build().place
    project.ran()
    project.write("hello/src/a.js", "b\n")
    project.build()
    assert project.ran() == ["cargo", "copy"]
    assert (place / "dist/x").read_text() == "b\n"


def test_what_the_author_built_by_hand_is_left_out(project: StepProject) -> None:
    project.write("hello/dist/js/all.js", "by hand\n")
    project.write("hello/dist/js/old.js", "by hand\n")
    place = project.build().place
    project.ran()
    assert [it.name for it in (place / "dist/js").iterdir()] == ["all.js"]
    project.write("hello/dist/js/all.js", "by hand again\n")
    project.build()
    assert project.ran() == []
    assert (place / "dist/js/all.js").read_text() == "a\n"


def test_a_step_that_goes_takes_its_files_along(project: StepProject) -> None:
    place = project.build().place
    project.steps = (SCRIPT, COMPONENT)
    project.build()
    assert not (place / "dist/ui").exists()
    assert (place / "dist/main.wasm").exists()


def test_packages_are_those_of_the_lock_file(project: StepProject) -> None:
    install = "rm -rf node_modules && mkdir node_modules && cat lock.txt > node_modules/version"
    half = f"{install} && test `cat lock.txt` != broken"
    project.steps = (
        step("install", half, ["lock.txt"], ["node_modules"]),
        step("build", "cat node_modules/version > out", ["lock.txt"], ["out"]),
    )
    for lock in ("A", "B", "A"):
        project.write("hello/lock.txt", lock)
        place = project.build().place
        assert "install" in project.ran()
        assert (place / "node_modules/version").read_text() == lock
    project.build()
    assert project.ran() == []
    project.write("hello/lock.txt", "broken")
    with pytest.raises(ResolveError):
        project.build()
    project.ran()
    project.write("hello/lock.txt", "A")
    place = project.build().place
    assert "install" in project.ran()
    assert (place / "node_modules/version").read_text() == "A"


def test_links_among_the_outputs(project: StepProject) -> None:
    project.steps = (step("script", "mkdir -p out && ln -sf ../src/a.js out/l", ["src"], ["out"]),)
    place = project.build().place
    project.ran()
    (place / "out/l").unlink()
    project.build()
    assert project.ran() == []
    assert (place / "out/l").readlink() == Path("../src/a.js")


def test_nothing_is_put_back_through_a_link(project: StepProject) -> None:
    place = project.build().place
    victim = project.write("victim/all.js", "precious\n")
    (place / "dist/js/all.js").unlink()
    (place / "dist/js").rmdir()
    (place / "dist/js").symlink_to(victim.parent)
    project.build()
    assert victim.read_text() == "precious\n"
    assert (place / "dist/js/all.js").read_text() == "a\n"


def test_a_damaged_copy_of_an_output_is_made_again(project: StepProject) -> None:
    place = project.build().place
    for kept in (project.build_directory / "made").iterdir():
        kept.write_text("damaged")
    (place / "dist/js/all.js").unlink()
    project.ran()
    project.build()
    assert project.ran() == ["script"]
    assert (place / "dist/js/all.js").read_text() == "a\n"


def test_what_is_kept_is_bounded(project: StepProject) -> None:
    for number in range(8):
        project.write("hello/src/a.js", f"{number}\n")
        project.build()
    kept = list((project.build_directory / "made").iterdir())
    assert len(kept) <= 2 * 4 + 1


def test_the_environment_and_the_command_of_a_step_count(project: StepProject) -> None:
    project.build()
    project.ran()
    changed = step("page", "mkdir -p dist/ui && cp -R web/. dist/ui", ["web"], ["dist/ui"])
    project.steps = (SCRIPT, COMPONENT, changed)
    project.build()
    assert project.ran() == ["page"]
    script = replace(SCRIPT, environment={"A": "1"})
    project.steps = (script, COMPONENT, changed)
    project.build()
    assert project.ran() == ["script"]


def test_globs_that_name_nothing_are_told(project: StepProject) -> None:
    project.steps = (step("script", "true", ["src", "sorce/*.js"], ["dist/none"]),)
    for _ in range(2):
        built = project.build()
        assert [it.code for it in built.warnings] == ["build-glob-unmatched"] * 2
        assert [it.where for it in built.warnings] == [INPUTS] * 2
        assert "`sorce/*.js`" in built.warnings[0].summary
        assert "`dist/none`" in built.warnings[1].summary
    assert project.ran() == ["script"]


def fake_tool(project: StepProject, name: str, version: str) -> None:
    tool = project.write(
        f"bin/{name}", f"#!/bin/sh\necho asked >> {project.root}/asked\necho {version}\n"
    )
    tool.chmod(0o755)
    project.path = f"{project.root}/bin:{os.environ['PATH']}"


def test_the_version_of_a_tool_counts(project: StepProject) -> None:
    fake_tool(project, "node", "v20.1.0")
    project.steps = (step("script", "true npm run build", ["src"], ["dist"]), PAGE)
    project.build()
    project.ran()
    project.build()
    assert project.ran() == []
    assert (project.root / "asked").read_text().split() == ["asked"]
    fake_tool(project, "node", "v22.10.0")
    project.build()
    assert project.ran() == ["script"]
    versions = json.loads((project.build_directory / "toolchains.json").read_text())
    assert versions["node"][-1] == "v22.10.0"


def test_a_lock_file_counts_for_a_step_that_does_not_name_it(project: StepProject) -> None:
    fake_tool(project, "node", "v20.1.0")
    project.write("hello/package-lock.json", "{}")
    project.steps = (step("script", "true npm run build", ["src"]), step("page", "true", ["web"]))
    project.build()
    project.ran()
    project.write("hello/package-lock.json", '{"lockfileVersion": 3}')
    project.build()
    assert project.ran() == ["script"]


def test_a_build_that_writes_in_place_leaves_the_source_alone(project: StepProject) -> None:
    source = project.root / "hello/src/a.js"
    status = source.stat()
    project.steps = (step("script", "echo changed > src/a.js && echo more >> src/a.js"),)
    place = project.build().place
    assert (place / "src/a.js").read_text() == "changed\nmore\n"
    assert source.read_text() == "a\n"
    assert (source.stat().st_mtime_ns, source.stat().st_ctime_ns) == (
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


NAMES = st.sampled_from(["src/a.js", "src/b.js", "web/x/y.html", "web/x/z.html", "web/w.html"])
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NAMES, st.sampled_from(["", "one\n", "two\n"])),
        st.tuples(st.just("delete"), NAMES, st.just("")),
        st.tuples(st.just("tamper"), st.sampled_from(["dist/js/all.js", "ui/w.html"]), st.just("")),
        st.tuples(st.sampled_from(["build", "fail"]), st.just(""), st.just("")),
    ),
    max_size=8,
)
HISTORY_STEPS = (
    step("script", "mkdir -p dist/js && cat src/*.js > dist/js/all.js", ["src"], ["dist"]),
    step(
        "page",
        "mkdir -p ui && cp -R web/. ui/ && test ! -e src/wrong",
        ["web", "src/wrong"],
        ["ui"],
    ),
    step("copy", "cp dist/js/all.js dist/main.js", ["dist/js/all.js"], ["dist/main.js"]),
    step("better", "echo >> dist/main.js", ["dist/main.js"], ["dist/main.js"]),
    step("all", "cat dist/main.js ui/*.html > all.txt"),
)


@settings(suppress_health_check=list(HealthCheck))
@given(changes=CHANGES)
def test_any_history_gives_what_a_fresh_clone_gives(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str, str]]
) -> None:
    project = StepProject(tmp_path_factory.mktemp("history"), HISTORY_STEPS)
    project.write("hello/src/main.js", "main\n")
    project.write("hello/web/index.html", "index\n")
    for what, name, text in changes:
        path = project.root / "hello" / name
        match what:
            case "write":
                project.write(f"hello/{name}", text)
            case "delete":
                path.unlink(missing_ok=True)
                if (
                    path.parent.name == "x"
                    and path.parent.is_dir()
                    and not any(path.parent.iterdir())
                ):
                    path.parent.rmdir()
            case "tamper":
                made = project.build_directory / "tree" / name
                if made.exists():
                    made.write_text("tampered")
            case "fail":
                wrong = project.write("hello/src/wrong")
                with pytest.raises(ResolveError):
                    project.build()
                wrong.unlink()
            case _:
                project.build()
    project.build()
    fresh = StepProject(tmp_path_factory.mktemp("clone"), HISTORY_STEPS)
    shutil.copytree(project.root / "hello", fresh.root / "hello")
    fresh.build()
    assert _content(project.build_directory / "tree") == _content(fresh.build_directory / "tree")


def _content(tree: Path) -> dict[str, str]:
    return {str(it.relative_to(tree)): it.read_text() for it in tree.rglob("*") if it.is_file()}
