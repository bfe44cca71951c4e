"""What there is, as people read it, and as shells do."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from algaenv.cli.output.terminal import Paint
from algaenv.cli.output.text import all_ready, env_text, nothing_there, status_text
from algaenv.model.secret import Secret
from algaenv.model.status import ServiceStatus, Status
from tests.cli.fake_application import status

HERE = status(Path("/home/me/algaenv.yaml"))


def test_the_whole_view() -> None:
    assert status_text(HERE) == dedent("""\
        demo  on docker, from /home/me/algaenv.yaml

        service   state    endpoints
        store     ready    api http://127.0.0.1:4569  console http://127.0.0.1:4570
        redis     ready    url redis://127.0.0.1:6380
        database  ready    url postgresql://alga@127.0.0.1:5436/alga
        runner    running  url http://127.0.0.1:8085  (HTTP 503)

        extension  version  bundle        state
        hello      0.1.2    1a2b3c4d5e6f  ready
          page  http://127.0.0.1:8085/ext-ui/7d444840/index.html
          GET   http://localhost:3000/api/ext/7d444840/hello
          POST  http://localhost:3000/api/ext/7d444840/hello/{id}

        tenant  11111111-2222-5333-8444-555555555555

        variables for the app server
        RUNNER_BASE_URL=http://127.0.0.1:8085
        STORAGE_S3_ACCESS_KEY=***
        STORAGE_S3_SECRET_KEY=***""")


def test_endpoints_that_do_not_fit_stand_below_one_another() -> None:
    text = status_text(HERE, width=60, variables=False).splitlines()
    assert text[3:5] == [
        "store     ready    api http://127.0.0.1:4569",
        "                   console http://127.0.0.1:4570",
    ]


def test_engine_and_version_stand_beside_the_service() -> None:
    services = (
        ServiceStatus("store", "absent", {}),
        ServiceStatus("database", "ready", {"url": "postgresql://x"}, engine="postgres 18.6"),
    )
    assert status_text(replace(HERE, services=services)).splitlines()[2:5] == [
        "service   engine         state   endpoints",
        "store     -              absent",
        "database  postgres 18.6  ready   url postgresql://x",
    ]


def test_a_service_without_endpoints_has_no_trailing_space() -> None:
    bare = replace(HERE, services=(ServiceStatus("store", "absent", {}),), extensions=())
    for width in (None, 40):
        assert "store    absent" in status_text(bare, width=width).splitlines()


def test_many_handlers_are_told_when_asked() -> None:
    hello = replace(HERE.extensions[0], endpoints=tuple(("GET", f"/{n}") for n in range(9)))
    many = replace(HERE, extensions=(hello,))
    assert "  5 more with --verbose" in status_text(many).splitlines()
    assert "api/ext/7d444840/3\n" in status_text(many)
    assert "api/ext/7d444840/4" not in status_text(many)
    assert "api/ext/7d444840/8" in status_text(many, verbose=True)


def test_an_extension_that_does_not_answer_says_why() -> None:
    sad = replace(HERE.extensions[0], ready=False, detail="HTTP 404", page_url=None)
    text = status_text(replace(HERE, extensions=(sad,)))
    assert "hello      0.1.2    1a2b3c4d5e6f  not ready (HTTP 404)" in text
    assert "page" not in text


def test_what_counts_as_ready_and_as_nothing() -> None:
    up = replace(HERE, services=HERE.services[:3])
    gone = tuple(replace(service, state="absent") for service in HERE.services)
    assert (all_ready(up), all_ready(HERE)) == (True, False)
    assert (nothing_there(replace(HERE, services=gone)), nothing_there(HERE)) == (True, False)
    sad = replace(up.extensions[0], ready=False)
    assert not all_ready(replace(up, extensions=(sad,)))


@pytest.mark.parametrize("verbose", [True, False])
@pytest.mark.parametrize("colour", [True, False])
def test_no_secret_is_shown(verbose: bool, colour: bool) -> None:
    text = status_text(HERE, Paint(enabled=colour), verbose=verbose)
    assert "AKIAEXAMPLE" not in text
    assert "ecret" not in text.replace("STORAGE_S3_SECRET_KEY", "")


NASTY: dict[str, str | Secret] = {
    "PLAIN": "http://127.0.0.1:8085/a?b=c&d",
    "EMPTY": "",
    "QUOTED": Secret('it\'s "$HOME" `id` \\ !x'),
    "SPACED": "two  words ",
    "LINES": "one\ntwo",
    "HASH": "a#b #c",
    "UMLAUT": "grün",
}


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_reads_back_what_was_meant(shell: str, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(env_text(NASTY), encoding="utf-8")
    script = "set -a; . ./env; exec env -0"
    clean = {"PATH": os.environ["PATH"]}
    found = subprocess.run(
        [shell, "-c", script], cwd=tmp_path, env=clean, capture_output=True, check=True
    )
    pairs = [line.split("=", 1) for line in found.stdout.decode().split("\0") if line]
    read = {key: value for key, value in pairs if key in NASTY}
    meant = {k: v.reveal() if isinstance(v, Secret) else v for k, v in NASTY.items()}
    assert read == meant


def test_ordinary_values_need_no_quotes_for_readers_that_take_them_as_they_are() -> None:
    assert env_text({"A": "http://127.0.0.1:1/x", "B": Secret("s3cr3t_-."), "C": ""}) == (
        "A=http://127.0.0.1:1/x\nB=s3cr3t_-.\nC=\n"
    )


def test_a_status_needs_neither_extensions_nor_variables() -> None:
    bare = Status(HERE.environment, "process", HERE.services[:1], ())
    assert status_text(bare).splitlines()[0] == "demo  on process, from /home/me/algaenv.yaml"
