"""Results of checks: lines for people, JSON, and JUnit XML for continuous integration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from algaenv.cli.output.escape import escape_controls, escape_text
from algaenv.cli.output.terminal import PLAIN, Paint
from algaenv.model.check import CheckResult

if TYPE_CHECKING:
    from algaenv.cli.output.json import JsonObject
    from algaenv.model.event import Report
    from algaenv.model.problem import Problem

_SUITES = "algaenv test"


def result_lines(result: CheckResult, paint: Paint = PLAIN) -> str:
    """One line, and below it what was not as expected; with a line break at the end."""
    result = escape_controls(result)
    mark = paint("✓", "green") if result.passed else paint("✗", "red")
    asked = f" ({result.about})" if result.about != result.name else ""
    head = f"{mark} {result.extension}  {result.name}{asked}  {result.answer}"
    lines = [f"{head}  {paint(f'{result.ms:g} ms', 'dim')}"]
    lines += [f"    {paint(line, 'red')}" for line in result.failures]
    lines += [f"    {line}" for line in result.details]
    if not result.passed:
        lines.append(f"    {paint(f'at {result.where}', 'dim')}")
    return "\n".join(lines) + "\n"


def total_line(results: Sequence[CheckResult]) -> str:
    """`3 checks: 2 passed, 1 failed. 40 ms.`"""
    failed = sum(not it.passed for it in results)
    checks = "1 check" if len(results) == 1 else f"{len(results)} checks"
    spent = sum(it.ms for it in results)
    return f"{checks}: {len(results) - failed} passed, {failed} failed. {spent:.0f} ms."


def results_to_json(
    name: str, results: Sequence[CheckResult], *, ephemeral: bool, exit_code: int | None = None
) -> JsonObject:
    """The document of `test --json`; `exit_code` is that of a program that ran instead."""
    failed = sum(not it.passed for it in results)
    document: JsonObject = {
        "version": 1,
        "environment": name,
        "ephemeral": ephemeral,
        "passed": len(results) - failed,
        "failed": failed,
        "checks": [_result_to_json(it) for it in results],
    }
    if exit_code is not None:
        document["exit_code"] = exit_code
    return document


def _result_to_json(result: CheckResult) -> JsonObject:
    return {
        "extension": result.extension,
        "name": result.name,
        "about": result.about,
        "passed": result.passed,
        "answer": result.answer,
        "ms": result.ms,
        "failures": list(result.failures),
        "details": list(result.details),
        "file": result.where.file,
        "line": result.where.line,
        "column": result.where.column,
    }


def junit(name: str, results: Sequence[CheckResult], broken: Report | None = None) -> bytes:
    """JUnit XML with a suite for each extension; `broken` is an `up` that failed before them."""
    from xml.etree import ElementTree

    root = ElementTree.Element("testsuites", name=_SUITES)
    extensions = dict.fromkeys(it.extension for it in results)
    for extension in extensions:
        own = [it for it in results if it.extension == extension]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=f"{name}.{extension}",
            tests=str(len(own)),
            failures=str(sum(not it.passed for it in own)),
            time=f"{sum(it.ms for it in own) / 1000:.3f}",
        )
        for result in own:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"{name}.{extension}",
                name=_xml(result.name),
                time=f"{result.ms / 1000:.3f}",
                file=result.where.file,
                line=str(result.where.line),
            )
            if not result.passed:
                message = _xml(result.failures[0])
                failure = ElementTree.SubElement(case, "failure", message=message)
                failure.text = _xml("\n".join((*result.failures, *result.details)))
    if broken is not None:
        suite = ElementTree.SubElement(root, "testsuite", name=name, tests="1", errors="1")
        case = ElementTree.SubElement(suite, "testcase", classname=name, name="up")
        problems = [*broken.problems, *_failed_steps(broken)]
        message = problems[0].summary if problems else "interrupted"
        error = ElementTree.SubElement(case, "error", message=_xml(message))
        error.text = _xml("\n".join(str(it) for it in problems))
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _failed_steps(report: Report) -> list[Problem]:
    from algaenv.model.event import FailedStep

    return [it.outcome.problem for it in report.ended if isinstance(it.outcome, FailedStep)]


def _xml(text: str) -> str:
    """XML has no words for most control characters."""
    return escape_text(text)
