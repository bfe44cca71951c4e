"""No secret leaves by a support bundle: those that are known, and what looks like one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from algaenv.doctor.redact import Redactor, is_secret_name, known_secrets, plain
from algaenv.model.secret import Secret
from algaenv.spec.load import load

PLANTED = "Pl4nted-s3cret-value"


@pytest.mark.parametrize(
    "text",
    [
        f"password={PLANTED}",
        f"DB_PASSWORD: {PLANTED}, next",
        f'{{"apiKey": "{PLANTED}", "n": 1}}',
        f'{{"secrets": {{"A": "{PLANTED}"}}}}',
        f"{{'client_secret': '{PLANTED}'}}",
        f"Authorization: Bearer {PLANTED}",
        f"authorization: Basic {PLANTED}==",
        f'"authorization": "{PLANTED} more"',
        f"Cookie: a=b; session={PLANTED}",
        f"set-cookie: sid={PLANTED}; Path=/",
        f"x-runner-auth: {PLANTED}",
        f"X-Api-Key: {PLANTED}",
        f"GET https://me:{PLANTED}@example.com/x",
        f"postgresql://{PLANTED}@host/db",
        f"GET /x?token={PLANTED}&b=1 200",
        f"https://s3/x?X-Amz-Signature={PLANTED}",
        f"/callback?code={PLANTED}",
        f"sent bearer {PLANTED} on",
        f"-----BEGIN RSA PRIVATE KEY-----\n{PLANTED}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{PLANTED} without an end",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    shown = Redactor(()).text(f"before\n{text}\n")
    assert PLANTED not in shown
    assert "***" in shown
    assert shown.startswith("before\n")


@pytest.mark.parametrize(
    "token",
    [
        "ghp_0123456789abcdefghij",
        "AKIAIOSFODNN7EXAMPLE",
        "sk-abcdefghijklmnopqrst",
        "xoxb-1234567890-abc",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    ],
)
def test_tokens_of_well_known_services_are_hidden_wherever_they_stand(token: str) -> None:
    assert token not in Redactor(()).text(f"it said {token} and ended")


def test_what_is_no_secret_stays() -> None:
    text = "author: me\nGET /x 200 3.1 ms\nkeep_versions: 3\nhttp://127.0.0.1:8085/healthz\n"
    assert Redactor(()).text(text) == text
    assert not is_secret_name("author")
    assert is_secret_name("STRIPE_KEY")


def test_a_known_value_is_hidden_before_a_long_line_is_cut() -> None:
    text = "x" * 3_990 + PLANTED + "y" * 100
    shown = Redactor((Secret(PLANTED),)).text(text)
    assert "Pl4nted" not in shown
    assert shown.endswith(" ... (cut)")
    begun = time.monotonic()
    Redactor(()).text("a" * 250_000 + "\n" + "a.b-" * 60_000)
    assert time.monotonic() - begun < 20  # Quadratic patterns would take minutes.


BROKEN = f"""\
name: [
database:
  password: |
    {PLANTED}
    second {PLANTED}
  port: 5500
runner:
  environment:
    ANYTHING: {PLANTED}
  port: 9000
redis: {{password: {PLANTED}, port: 7000}}
extensions:
  hello: {{source: ./hello, secrets: {{ODD: "{PLANTED}"}}, config: {{a: [{PLANTED}]}}}}
  second:
    checks:
      - call: GET /x
        headers: {{x-odd: {PLANTED}}}
        body: '{PLANTED}'
"""


def test_the_text_of_a_broken_spec_keeps_its_shape_and_loses_the_authors_values() -> None:
    shown = Redactor(()).spec(BROKEN)
    assert PLANTED not in shown
    for kept in ("name: [", "  port: 5500", "  port: 9000", "source: ./hello", "call: GET /x"):
        assert kept in shown, shown


def test_secrets_of_spec_environment_and_dotenv_are_known(tmp_path: Path) -> None:
    planted = [f"{PLANTED}-{number}" for number in range(8)]
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "manifest.json").write_text("{}")
    (tmp_path / ".env").write_text(f"UNSUSPICIOUS='{planted[0]}'\n")
    spec = {
        "name": "demo",
        "database": {"url": f"postgresql://me:{planted[1]}@127.0.0.1/alga"},
        "tenant": {"id": "176e8365-6c42-5f0e-bbcf-1a1d91c05ed4"},
        "runner": {"environment": {"UNSUSPICIOUS": planted[2]}},
        "otel": {"endpoint": "http://127.0.0.1:4318", "headers": {"x-odd": planted[3]}},
        "extensions": {
            "hello": {
                "source": "./hello",
                "secrets": {"ODD": planted[4]},
                "config": {"deep": [{"a": planted[5]}]},
            }
        },
    }
    (tmp_path / "algaenv.yaml").write_text(json.dumps(spec))
    environ = {"MY_TOKEN": planted[6], "ALL_PROXY": f"http://a:{planted[7]}@proxy"}
    intent = load(tmp_path / "algaenv.yaml", environ).intent
    known = known_secrets((intent,), None, environ, tmp_path / ".env")
    shown = Redactor(known).text("".join(f"it wrote {it} there\n" for it in planted))
    assert "Pl4nted" not in shown
    document = json.dumps(plain(intent))
    assert "Pl4nted" not in document
    assert '"name": "demo"' in document
