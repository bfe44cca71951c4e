"""The whole command line as a program in pipes: what goes where, and how it exits."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from algaenv.cli.commands import COMMANDS, TAKE_PROGRAMS
from algaenv.cli.exit_codes import ExitCode
from tests.cli.fake_application import RESOURCES
from tests.cli.program import command, environ, run
from tests.cli.schemas import check


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with something that looks like a spec."""
    (tmp_path / "algaenv.yaml").write_text("name: demo\n")
    return tmp_path


def events(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    for event in found:
        check("events", event)
    return found


def test_up_ends_with_the_addresses(place: Path) -> None:
    done = run(place, "up", scenario="fresh")
    assert done.returncode == 0
    assert done.stdout.startswith("demo  on docker, from ")
    assert "\n  page  http://127.0.0.1:8085/" in done.stdout
    assert "variables" not in done.stdout
    lines = done.stderr.splitlines()
    assert "+ create release/hello (missing)  0.0s" in lines
    assert lines[-1] == "      algaenv down           removes it all again"
    assert any(line.startswith("done: 12 changed in ") for line in lines)
    assert "\x1b" not in done.stdout + done.stderr


def test_up_quietly(place: Path) -> None:
    done = run(place, "up", "-q", scenario="noop")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_up_as_events(place: Path) -> None:
    done = run(place, "up", "--json", scenario="fresh")
    assert (done.returncode, done.stderr) == (0, "")
    found = events(done.stdout)
    assert found[0]["event"] == "runtime_chosen"
    assert found[-1]["event"] == "report"
    assert found[-1]["changed"] == len(RESOURCES)
    kinds = {str(event["event"]) for event in found}
    assert {"resolving", "resolved", "planned", "step_started", "step_ended", "warned"} <= kinds


def test_a_failed_step_names_itself_its_evidence_and_what_to_do(place: Path) -> None:
    done = run(place, "up", scenario="failing")
    assert done.returncode == ExitCode.RESOURCE
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert ". create release/hello  skipped, since container/store failed" in lines
    assert lines[-5:-1] == [
        "error[service-ended]: cannot bring up container/store: it ended while starting",
        "    | listening on 127.0.0.1:9000",
        "    | panic: disk full",
        "  hint: its last lines are above; `algaenv up` tries again",
    ]
    assert lines[-1].startswith("failed: 1 failed, 4 skipped, 7 changed in ")


def test_a_failed_step_as_events(place: Path) -> None:
    done = run(place, "up", "--json", scenario="failing")
    assert done.returncode == ExitCode.RESOURCE
    report = events(done.stdout)[-1]
    assert report["failed"] == 1
    steps = {step["address"]: step for step in report["steps"]}
    assert steps["container/store"]["problem"]["code"] == "service-ended"
    assert steps["release/hello"]["because"] == "container/store"


EXIT_CODES_BY_SCENARIO = {
    "spec": ExitCode.SPEC,
    "engine": ExitCode.ENGINE,
    "locked": ExitCode.LOCKED,
    "late": ExitCode.NOT_READY,
    "build": ExitCode.BUILD,
    "bug": ExitCode.UNEXPECTED,
}


@pytest.mark.parametrize("verb", ["up", "plan", "status"])
@pytest.mark.parametrize(("scenario", "code"), EXIT_CODES_BY_SCENARIO.items())
def test_what_stops_a_command_decides_its_code(
    place: Path, verb: str, scenario: str, code: ExitCode
) -> None:
    done = run(place, verb, scenario=scenario)
    assert (done.returncode, done.stdout) == (code, "")
    assert (
        "error[unexpected]" if scenario == "bug" else f"a.yaml:3:5: error[{scenario}]"
    ) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["up", "plan", "status"])
@pytest.mark.parametrize("scenario", ["spec", "bug"])
def test_errors_are_json_where_the_answer_would_be(place: Path, verb: str, scenario: str) -> None:
    done = run(place, verb, "--json", scenario=scenario)
    assert (done.returncode, done.stderr) == (EXIT_CODES_BY_SCENARIO[scenario], "")
    (report,) = events(done.stdout)
    (problem,) = report["problems"]
    assert (report["event"], report["verb"], report["failed"]) == ("report", verb, 1)
    if scenario == "spec":
        assert (problem["file"], problem["line"], problem["column"]) == ("a.yaml", 3, 5)


def test_a_bug_leaves_its_traceback_in_a_file_that_the_message_names(place: Path) -> None:
    done = run(place, "up", scenario="bug")
    log = place / "state" / "algaenv" / "algaenv.log"
    assert f"report it with {log}" in done.stderr
    assert "this is a bug in algaenv: KeyError: 'port'" in done.stderr
    assert "Traceback (most recent call last)" in log.read_text()


def test_plan_for_people_and_for_programs(place: Path) -> None:
    result = run(place, "plan", scenario="fresh")
    assert result.returncode == 0
    assert result.stdout.endswith("\nPlan: 12 to create, 0 to update, 0 to delete.\n")
    assert result.stderr.endswith("\nnext: algaenv up  does this\n")
    done = run(place, "plan", "--json", scenario="fresh")
    document = json.loads(done.stdout)
    check("plan", document)
    assert (done.stderr, document["changes"], len(document["warnings"])) == ("", 12, 1)


def test_a_plan_is_written_and_named(place: Path) -> None:
    result = run(place, "plan", "--out", "changes.plan", scenario="fresh")
    assert result.returncode == 0
    assert "plan written to changes.plan\n" in result.stderr
    assert result.stderr.endswith(
        "\nnext: algaenv up changes.plan  does exactly this, or nothing\n"
    )
    again = run(place, "plan", "--out", "changes.plan", "--json", scenario="fresh")
    document = json.loads(again.stdout)
    check("plan", document)
    assert document["written"] == str(place / "changes.plan")
    check("saved-plan", json.loads((place / "changes.plan").read_text()))
    named = run(place, "plan", "--out", "changes", scenario="fresh")
    assert "next: algaenv up ./changes  does" in named.stderr


def test_no_plan_is_written_over_another_file_or_of_what_is_in_the_way(place: Path) -> None:
    for name in ("algaenv.yaml", "none/changes.plan", "."):
        result = run(place, "plan", "--out", name, scenario="fresh")
        assert result.returncode == ExitCode.USAGE, name
        assert f"cannot write a plan to {place / name}" in result.stderr
    result = run(place, "plan", "--out", "changes.plan", scenario="taken")
    assert result.returncode == ExitCode.RESOURCE
    assert "plan not written" in result.stderr
    assert not (place / "changes.plan").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none.plan"], ExitCode.SPEC, "error[plan-file]: cannot read the plan"),
        (["./algaenv.yaml"], ExitCode.SPEC, "it is no plan of `algaenv plan --out FILE`"),
        (["changes.plan", "hello"], ExitCode.USAGE, "with other arguments"),
        (["changes.plan", "--adopt"], ExitCode.USAGE, "cannot use --adopt with a plan"),
        (["changes.plan", "--runtime", "docker"], ExitCode.USAGE, "cannot use --runtime"),
    ],
)
def test_what_up_takes_for_a_plan_is_one(
    place: Path, arguments: list[str], code: ExitCode, words: str
) -> None:
    result = run(place, "up", *arguments, scenario="fresh")
    assert (result.returncode, words in result.stderr) == (code, True), result.stderr


def test_plan_suggests_no_up_that_would_be_refused(place: Path) -> None:
    result = run(place, "plan", scenario="taken")
    assert result.returncode == ExitCode.RESOURCE
    assert "In the way:" in result.stdout
    assert "next:" not in result.stderr


def test_plan_suggests_the_up_it_was_drawn_for(place: Path) -> None:
    result = run(place, "plan", "--runtime", "process", scenario="fresh")
    assert result.stderr.endswith("\nnext: algaenv up --runtime process  does this\n")
    result = run(place, "plan", "hello", "--adopt", "--images", "build", scenario="fresh")
    assert result.stderr.endswith("\nnext: algaenv up hello --images build --adopt  does this\n")


@pytest.mark.parametrize("verb", ["validate", "plan", "up", "status"])
def test_warnings_stand_beside_the_errors_of_a_spec(place: Path, verb: str) -> None:
    (place / ".env").write_bytes(b"N=\xff\n")
    (place / "algaenv.yaml").write_text("name: ${N}\n")
    done = run(place, verb)
    assert done.returncode == ExitCode.SPEC
    assert "warning[spec-dotenv]" in done.stderr
    assert done.stderr.count("error[spec-variable-unset]") == 1


def test_plan_tells_differences_by_its_code_when_asked(place: Path) -> None:
    codes = [
        run(place, "plan", *options, scenario=scenario).returncode
        for scenario in ("fresh", "noop")
        for options in ((), ("--detailed-exitcode",))
    ]
    assert codes == [0, 2, 0, 0]


def test_status_in_its_three_forms(place: Path) -> None:
    table = run(place, "status", scenario="fresh").stdout
    assert "STORAGE_S3_SECRET_KEY=***" in table
    for option in (("--json",), ("-o", "json"), ("--output=json", "--json")):
        document = json.loads(run(place, "status", *option, scenario="fresh").stdout)
        check("status", document)
    env = run(place, "status", "-o", "env", scenario="noop")
    assert env.stderr == ""
    assert env.stdout.splitlines()[:2] == [
        "RUNNER_BASE_URL=http://127.0.0.1:8085",
        "STORAGE_S3_ACCESS_KEY=AKIAEXAMPLE",
    ]


def test_down_keeps_data_unless_told(place: Path) -> None:
    done = run(place, "down", scenario="fresh")
    assert (done.returncode, done.stdout) == (0, "")
    assert "kept volume/store" in done.stderr
    gone = run(place, "down", "--volumes", "--yes", scenario="fresh")
    assert gone.returncode == 0
    assert "- delete volume/store" in gone.stderr


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_data_never_goes_where_nobody_can_be_asked(place: Path, options: tuple[str, ...]) -> None:
    done = run(place, "down", "--volumes", *options, scenario="fresh", text="y\n")
    assert done.returncode == ExitCode.USAGE
    assert "--yes" in done.stdout + done.stderr
    assert "delete volume" not in done.stdout + done.stderr


def test_down_works_where_the_spec_was(place: Path) -> None:
    (place / "algaenv.yaml").unlink()
    below = place / "deep" / "down"
    below.mkdir(parents=True)
    assert run(below, "down", scenario="fresh").returncode == ExitCode.SPEC
    (place / ".algaenv").mkdir()
    assert run(below, "down", scenario="fresh").returncode == 0


def test_where_the_spec_is_looked_for(place: Path) -> None:
    below = place / "a" / "b"
    below.mkdir(parents=True)
    spec = place / "algaenv.yaml"
    for arguments, extra in (
        ((), {}),
        (("-f", "../.."), {}),
        ((f"--file={spec}",), {}),
        ((), {"ALGAENV_FILE": str(place)}),
        (("-f", str(place)), {"ALGAENV_FILE": "/nowhere/else.yaml"}),
    ):
        done = run(below, "status", "--json", *arguments, scenario="noop", extra=extra)
        found = json.loads(done.stdout)["environment"]["spec"]
        assert Path(found).resolve() == spec.resolve(), arguments


def test_without_a_spec_the_hint_says_how_to_name_one(tmp_path: Path) -> None:
    done = run(tmp_path, "up", scenario="fresh")
    assert done.returncode == ExitCode.SPEC
    assert done.stderr.startswith("error[spec-missing]: cannot find algaenv.yaml in ")
    assert "`-f PATH`" in done.stderr


def test_suggestions_name_the_same_spec(place: Path) -> None:
    done = run(place, "-f", "algaenv.yaml", "status", scenario="fresh")
    assert done.stderr.endswith("next: algaenv up -f algaenv.yaml  mends what is not ready\n")


@pytest.mark.parametrize("verb", ["plan", "schema", "up"])
def test_a_reader_that_goes_away_changes_nothing(place: Path, verb: str) -> None:
    scenario = None if verb == "schema" else "fresh"
    options = ["--json"] if verb == "up" else []
    program = subprocess.Popen(
        command(verb, *options, scenario=scenario),
        cwd=place,
        env=environ(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    errors = program.stderr.read().decode()
    program.stderr.close()
    assert program.wait(timeout=30) == 0
    assert "BrokenPipe" not in errors
    assert "Exception" not in errors


def test_a_stream_that_cannot_show_everything_still_gets_the_answer(place: Path) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    done = run(place, "up", "-v", "--json", scenario="fresh", extra=ascii_only)
    assert done.returncode == 0
    done = run(place, "up", scenario="fresh", extra=ascii_only)
    assert (done.returncode, "build \\u2026" in done.stderr) == (0, True)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(place: Path, closed: str) -> None:
    line = f'exec "$@" {closed}'
    words = ["sh", "-c", line, "sh", *command("up", scenario="fresh")]
    done = subprocess.run(words, cwd=place, env=environ(place), capture_output=True, check=False)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_colour_can_be_forced_and_forbidden(place: Path) -> None:
    forced = {"FORCE_COLOR": "1"}
    assert "\x1b[32" in run(place, "plan", scenario="fresh", extra=forced).stdout
    for options, extra in ((("--no-color",), forced), ((), forced | {"NO_COLOR": "1"})):
        done = run(place, "plan", *options, scenario="fresh", extra=extra)
        assert "\x1b" not in done.stdout + done.stderr


def test_every_command_has_help(tmp_path: Path) -> None:
    for name, _ in COMMANDS:
        done = run(tmp_path, name, "--help")
        assert done.returncode == 0
        usage = done.stdout.partition("\n\n")[0].split()
        assert usage[:3] == ["usage:", "algaenv", name]
        last = usage.index("PROGRAM") - 1 if name in TAKE_PROGRAMS else len(usage)
        assert usage[last - 1] == "[options]"
        assert done.stdout.count(f"  algaenv {name}") >= 1
        assert "\nexamples:\n" in done.stdout


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_help_fits_the_terminal(tmp_path: Path, columns: int) -> None:
    for arguments in (["--help"], *([name, "--help"] for name, _ in COMMANDS)):
        text = run(tmp_path, *arguments, extra={"COLUMNS": str(columns)}).stdout
        lines = [line for line in text.splitlines() if not line.startswith(("  algaenv ", "  # "))]
        assert max(map(len, lines)) <= min(columns, 96)


def test_no_command_is_a_usage_error_that_helps(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr == run(tmp_path, "--help").stdout


USAGE = {
    "upp": ("cannot run 'upp': there is no such command", "try `algaenv up`"),
    "frobnicate": ("cannot run 'frobnicate'", "run `algaenv --help`"),
    "up --jsn": ("cannot use --jsn: `algaenv up` has no such option", "try `--json`"),
    "--detailed-exitcod plan": ("cannot use --detailed-exitcod: `algaenv` has", "run `algaenv"),
    "plan --detailed": ("cannot use --detailed:", "try `--detailed-exitcode`"),
    "up --runtime dokcer": ("'dokcer' is not one of auto, docker, process", "run `algaenv up"),
    "up -f": ("cannot use -f/--file: expected one argument", "run `algaenv up --help`"),
    "status now": ("cannot use 'now': `algaenv status` takes no argument there", "run `algaenv"),
    "up -q -v": ("cannot use -v/--verbose: not allowed with argument -q", "run `algaenv up"),
    "schema -f x": ("cannot use -f: `algaenv schema` has no such option", "run `algaenv schema"),
    "status -o env --json": ("cannot print both JSON and env", "leave out"),
    "status -o yaml": ("'yaml' is not one of table, json, env", "run `algaenv status"),
    "up --images=puil": ("did you mean pull?", "run `algaenv up"),
}


@pytest.mark.parametrize(("line", "expected"), USAGE.items())
def test_usage_errors_suggest(place: Path, line: str, expected: tuple[str, str]) -> None:
    done = run(place, *line.split(), scenario="fresh")
    summary, hint = expected
    assert done.returncode == ExitCode.USAGE
    if "--json" in line.split():
        (problem,) = events(done.stdout)[0]["problems"]
        assert summary in problem["summary"]
        assert hint in problem["hint"]
    else:
        assert done.stdout == ""
        first, second = done.stderr.splitlines()
        assert first.startswith("error[usage]: cannot ")
        assert summary in first
        assert second.startswith(f"  hint: {hint}")


def test_usage_errors_are_json_when_json_is_asked_for(place: Path) -> None:
    done = run(place, "-f", "x", "plan", "--nope", "--json", scenario="fresh")
    (report,) = events(done.stdout)
    assert (done.returncode, report["verb"], done.stderr) == (ExitCode.USAGE, "plan", "")


def test_options_may_stand_before_the_command(place: Path) -> None:
    before = run(place, "--json", "-f", "algaenv.yaml", "plan", scenario="noop")
    after = run(place, "plan", "--json", "-f", "algaenv.yaml", scenario="noop")
    assert before.returncode == 0
    assert before.stdout == after.stdout


def test_the_version(tmp_path: Path) -> None:
    from algaenv import __version__

    short, long = run(tmp_path, "--version"), run(tmp_path, "version")
    assert short.stdout == long.stdout
    assert short.stdout.startswith(f"algaenv {__version__} (Python ")
    assert json.loads(run(tmp_path, "version", "--json").stdout)["version"] == __version__


def test_validate_a_good_spec(place: Path) -> None:
    done = run(place, "validate")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"valid: {place / 'algaenv.yaml'} (demo, 0 extensions)\n"
    (report,) = events(run(place, "validate", "--json").stdout)
    assert (report["verb"], report["problems"]) == ("validate", [])


def test_validate_tells_how_a_source_is_built(place: Path) -> None:
    (place / "algaenv.yaml").write_text(
        "name: demo\nextensions: {hello: {source: hello, build: auto}}\n"
    )
    (place / "hello").mkdir()
    (place / "hello/manifest.json").write_text("{}")
    unknown = run(place, "validate")
    assert unknown.returncode == ExitCode.BUILD
    assert "error[build-undetected]: cannot build hello" in unknown.stderr
    assert "looked for a package.json" in unknown.stderr
    (place / "hello/package.json").write_text('{"scripts": {"build": "tsc && vite build"}}')
    done = run(place, "validate")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n  hello is built with tsc, vite: build, build-vite\n")


def test_validate_a_bad_spec(place: Path) -> None:
    (place / "algaenv.yaml").write_text("name: demo\nruntme: docker\nstore: {port: 0}\n")
    done = run(place, "validate")
    assert (done.returncode, done.stdout) == (ExitCode.SPEC, "")
    assert done.stderr.count(": error[spec-") == 2
    assert "algaenv.yaml:2:1: error[" in done.stderr
    json_done = run(place, "validate", "--json")
    (report,) = events(json_done.stdout)
    assert json_done.returncode == ExitCode.SPEC
    assert [problem["line"] for problem in report["problems"]] == [2, 3]


def test_the_schema_is_one_that_accepts_a_spec(tmp_path: Path) -> None:
    from jsonschema import Draft7Validator

    schema = json.loads(run(tmp_path, "schema").stdout)
    Draft7Validator.check_schema(schema)
    assert list(Draft7Validator(schema).iter_errors({"name": "demo"})) == []
    assert list(Draft7Validator(schema).iter_errors({"nome": "demo"})) != []


FULL = Path("/dev/full")


@pytest.mark.parametrize(
    ("arguments", "scenario"),
    [
        (["up"], "fresh"),
        (["up", "--json"], "fresh"),
        (["plan"], "fresh"),
        (["plan", "--detailed-exitcode"], "fresh"),
        (["plan", "--json"], "fresh"),
        (["status"], "noop"),
        (["status", "--json"], "noop"),
        (["status", "-o", "env"], "noop"),
        (["down", "--yes", "--json"], "noop"),
        (["open", "hello"], "noop"),
        (["validate"], None),
        (["validate", "--json"], None),
        (["schema"], None),
        (["version"], None),
        (["--version"], None),
        (["--help"], None),
        (["up", "--help"], None),
        (["call", "--help"], None),
    ],
)
def test_a_full_disk_behind_stdout_is_told_in_a_line(
    place: Path, arguments: list[str], scenario: str | None
) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            command(*arguments, scenario=scenario),
            cwd=place,
            env=environ(place),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=30,
            check=False,
        )
    line = "error[output-unwritable]: cannot write the answer: No space left on device"
    assert done.stderr.splitlines()[-1] == line
    assert done.stderr.count("error[") == 1
    assert "Traceback" not in done.stderr
    assert done.returncode == ExitCode.OUTPUT


@pytest.mark.parametrize("scenario", ["fresh", "failing"])
def test_a_full_disk_behind_stderr_changes_nothing(place: Path, scenario: str) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(
            command("up", scenario=scenario),
            cwd=place,
            env=environ(place),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=full,
            encoding="utf-8",
            timeout=30,
            check=False,
        )
    assert done.returncode == run(place, "up", scenario=scenario).returncode
