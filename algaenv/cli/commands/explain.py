"""The command `explain`: a problem code, a field of the spec, or an extension."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from algaenv.cli.exit_codes import ExitCode
from algaenv.cli.parser import add_file, add_output, add_runtime, utf8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from algaenv.cli.invocation import CommandInvocation
    from algaenv.model.problem import Problem
    from algaenv.problems import ProblemCode
    from algaenv.spec.provenance import FieldExplanation

USAGE = "CODE|EXTENSION|FIELD [options]"
DESCRIPTION = (
    "Explain a problem code: what it means and what to do. Or an extension of the spec: its state, "
    "why it is so, and what `algaenv up` would do. Or a field, such as runner.port: which file "
    "sets it, which variables it takes, and its default. Nothing is changed."
)
EXAMPLES = (
    ("algaenv explain port-taken", "What a code means, and what to do about it."),
    ("algaenv explain hello", "Why an extension is in the state it is in."),
    ("algaenv explain runner.port", "Which file sets a value: spec, local overlay, or a stack."),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "subject",
        metavar="SUBJECT",
        type=utf8,
        help="a problem code, the name of an extension, or a field with dots between its keys",
    )
    add_file(parser)
    add_runtime(parser)
    add_output(parser)


def run(invocation: CommandInvocation) -> ExitCode:
    """Explain; raises SpecError (`spec-field-unknown`) for what is neither."""
    from algaenv.spec.provenance import explain_field, extension_names

    subject = invocation.options.subject
    if found := _codes(subject):
        _print(invocation, _code_json(subject, found), _code_lines(found))
        return ExitCode.DONE
    spec = invocation.spec()
    if "." not in subject and subject in extension_names(spec, invocation.environ):
        shape = _extension_json(invocation, subject)
        _print(invocation, shape, _extension_lines(shape))
        return ExitCode.DONE
    field = explain_field(spec, invocation.environ, subject)
    _print(invocation, _field_json(field), _field_lines(field))
    return ExitCode.DONE


def _print(invocation: CommandInvocation, shape: dict[str, Any], lines: Sequence[str]) -> None:
    from algaenv.cli.output.escape import escape_controls

    if invocation.json:
        invocation.print_json({"version": 1, **shape})
    else:
        invocation.print_result("".join(f"{escape_controls(line)}\n" for line in lines))


def _codes(subject: str) -> list[tuple[str, ProblemCode]]:
    """The packages that raise a code, with what each means by it."""
    from algaenv.problems import load_problem_codes

    return [
        (package, code)
        for package, codes in load_problem_codes().items()
        for code in codes
        if code.code == subject
    ]


def _code_json(subject: str, found: Sequence[tuple[str, ProblemCode]]) -> dict[str, Any]:
    from algaenv.model.problem import Problem

    # A code that stands in several packages means the same in each.
    _, code = found[0]
    packages = [package for package, _ in found]
    return {
        "kind": "code",
        "code": subject,
        "meaning": code.meaning,
        "hint": code.hint,
        "packages": packages,
        "url": Problem(subject, "").url,
    }


def _code_lines(found: Sequence[tuple[str, ProblemCode]]) -> list[str]:
    from algaenv.model.problem import Problem

    _, code = found[0]
    return [
        f"{code.code}: {code.meaning.rstrip('.')}.",
        f"What to do: {code.hint.rstrip('.')}.",
        f"Read on: {Problem(code.code, '').url}",
    ]


def _extension_json(invocation: CommandInvocation, name: str) -> dict[str, Any]:
    from algaenv.bundle.value import replace
    from algaenv.model.problem import AlgaenvError
    from algaenv.plan.order import extension_of
    from algaenv.spec.provenance import explain_field

    spec = invocation.spec()
    request = invocation.request(spec)
    shape: dict[str, Any] = {"kind": "extension", "extension": name, "state": "unknown"}
    (setting, *_) = explain_field(spec, invocation.environ, f"extensions.{name}").settings
    shape["where"] = str(setting.where)
    try:
        status = invocation.application(request).status(request, lambda _: None)
        there = next((it for it in status.extensions if it.name == name), None)
        ready = there is not None and there.ready
        shape["state"] = "ready" if ready else "not ready" if there else "not installed"
        if there is not None:
            shape |= {"detail": there.detail, "content_hash": there.content_hash}
    except AlgaenvError as error:
        shape["problems"] = _problems_json(error.problems)
    try:
        only = replace(request, extensions=(name,))
        plan = invocation.application(only).plan(only, lambda _: None)
    except AlgaenvError as error:
        shape["problems"] = _problems_json(error.problems)
        return shape
    steps = [it for it in plan.actions if extension_of(it.address) in {None, name}]
    shape["steps"] = [
        {"action": it.verb.value, "address": str(it.address), "cause": str(it.cause)}
        for it in steps
    ]
    blocked = [it.problem for it in plan.blocked if extension_of(it.address) in {None, name}]
    if blocked:
        shape["problems"] = _problems_json(blocked)
    return shape


def _problems_json(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    from algaenv.cli.output.json import problem_to_json

    return [problem_to_json(it) for it in problems]


def _extension_lines(shape: dict[str, Any]) -> list[str]:
    detail = f": {shape['detail']}" if shape.get("detail") else ""
    lines = [f"{shape['extension']} is {shape['state']}{detail}"]
    if shape.get("content_hash"):
        lines.append(f"  its bundle is {shape['content_hash']}")
    lines.append(f"  it stands in {shape['where']}")
    for it in shape.get("problems", ()):
        lead = f"{it['file']}:{it['line']}:{it['column']}: " if "file" in it else ""
        lines.append(f"  {lead}{it['summary']} [{it['code']}]")
        lines += [f"    {line}" for line in it.get("detail", ())]
        lines += [f"    hint: {it['hint']}"] if "hint" in it else []
    if "steps" in shape:
        steps = [f"{it['action']} {it['address']} ({it['cause']})" for it in shape["steps"]]
        lines.append("  `algaenv up` would change nothing" if not steps else "  `algaenv up` would")
        lines += [f"    {it}" for it in steps]
    return lines


def _field_json(field: FieldExplanation) -> dict[str, Any]:
    return {
        "kind": "field",
        "field": field.path,
        "description": field.description,
        "default": field.default,
        "settings": [
            {"where": str(it.where), "text": it.text, "variables": dict(it.variables)}
            for it in field.settings
        ],
    }


def _field_lines(field: FieldExplanation) -> list[str]:
    lines = [f"{field.path}: {field.description}" if field.description else field.path]
    for number, it in enumerate(field.settings):
        lead = "set by" if number == 0 else "instead of"
        lines.append(f"  {lead} {it.where}: {it.text}")
        lines += [
            f"    ${{{name}}}: from {source}"
            if source != "not set"
            else f"    ${{{name}}}: not set, so its default counts"
            for name, source in it.variables.items()
        ]
    if not field.settings:
        lines.append("  no file sets it")
    if field.default is not None:
        lines.append(f"  default: {field.default}")
    return lines
