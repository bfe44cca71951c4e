"""The library: an environment as an object, for programs that bring one up themselves.

Everything here is public, and changes only as the commands do. Nothing is printed, and no signal is
handled; what happens is told to a callback. Everything that fails raises an AlgaenvError.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from algaenv.model.event import CutShort, Done, Emit, Event, FailedStep, Report
from algaenv.model.plan import Plan
from algaenv.model.problem import AlgaenvError, Problem
from algaenv.model.status import ExtensionStatus, ServiceStatus, Status

if TYPE_CHECKING:
    from algaenv.cli.gateway_client import GatewayResponse as Response
    from algaenv.dependencies import Request, UseCases

__all__ = [
    "AlgaenvError",
    "Environment",
    "Event",
    "ExtensionStatus",
    "Plan",
    "Problem",
    "Report",
    "RunFailed",
    "ServiceStatus",
    "Status",
]

_SPEC_NAME = "algaenv.yaml"


class RunFailed(AlgaenvError):
    """An `up` or a `down` did not end well. `report` has each step; `exit_code` is the command's.

    `problems` are those of the run and of its steps; a run that `cancelled` ended may have none.
    """

    def __init__(self, report: Report, exit_code: int) -> None:
        steps = [it.outcome for it in report.ended]
        failed = [it.problem for it in steps if isinstance(it, FailedStep)]
        problems = [*report.problems, *failed]
        if not problems:
            hint = "run it again, which goes on from what is there"
            problems = [
                Problem("run-interrupted", f"cannot end `{report.verb}`: interrupted", hint)
            ]
        super().__init__(*problems)
        self.report = report
        self.exit_code = exit_code


class Environment:
    """The environment of a spec, which may be up or not.

    At the end of a `with` it is taken down if an `up` of this object has started any service of it;
    its data stays. One object is for one thread at a time.

    `spec` is the file, or the directory that holds `algaenv.yaml`. `isolated` names an isolated
    environment of it, as `--isolated` does: up to 20 of a-z, 0-9 and -, else ValueError.
    `profiles` are those asked for, as by `--profile`.
    `runtime` is auto, docker or process, `images` auto, pull or build; None: as the spec says.
    `environ` takes the place of `os.environ`. `on_event` is called with each event, in the thread
    that a step runs in, one call at a time. `cancelled` is called between steps; once it returns
    True, a run ends as after Ctrl-C.
    """

    def __init__(
        self,
        spec: str | os.PathLike[str] = _SPEC_NAME,
        *,
        isolated: str | None = None,
        profiles: Sequence[str] = (),
        runtime: Literal["auto", "docker", "process"] | None = None,
        images: Literal["auto", "pull", "build"] | None = None,
        environ: Mapping[str, str] | None = None,
        on_event: Emit = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        path = Path(spec).absolute()
        self.spec = path / _SPEC_NAME if path.is_dir() else path
        if isolated is not None:
            from algaenv.model.isolated import is_isolated_name, isolated_spec

            if not is_isolated_name(isolated):
                raise ValueError(f"no name of up to 20 of a-z, 0-9 and -: {isolated!r}")
            self.spec = isolated_spec(self.spec, isolated)
        self._runtime = runtime
        self._images = images
        self._environ = dict(os.environ if environ is None else environ)
        if profiles:
            self._environ["ALGAENV_PROFILES"] = ",".join(profiles)
        self._on_event = on_event
        self._cancelled = cancelled
        self._started = False

    def up(
        self,
        *extensions: str,
        wait_timeout: float | None = None,
        adopt: bool = False,
        plan: str | os.PathLike[str] | None = None,
    ) -> Status:
        """Bring it to what the spec says, and return its status once all of it answers.

        With names only those extensions are worked on. `wait_timeout` is in seconds, for the whole
        run. `plan` is a file that `plan` has written: exactly that is done, with the options that
        it was made with, or nothing. Raises RunFailed; what was reached stays, and the next `up`
        goes on from there.
        """
        request, application = self._request(
            extensions=extensions, limit_seconds=wait_timeout, adopt=adopt
        )
        if plan is not None:
            from algaenv.drivers.state.plan_file import read_plan

            request = request.of_plan(read_plan(Path(plan)))
        report = application.up(request, self._on_event)
        self._started = self._started or _starts_services(report)
        self._check(report)
        return report.status or self.status()

    def plan(
        self, *extensions: str, adopt: bool = False, out: str | os.PathLike[str] | None = None
    ) -> Plan:
        """What `up` would do; nothing but the cache is written. Raises AlgaenvError.

        `out` is a file to write the plan to, for `up`; a blocked plan is not written.
        """
        request, application = self._request(extensions=extensions, adopt=adopt)
        if out is None:
            return application.plan(request, self._on_event)
        from algaenv.drivers.state.plan_file import write_plan

        plan, saved = application.plan_to_save(request, self._on_event)
        if not plan.blocked:
            write_plan(Path(out), saved)
        return plan

    def status(self) -> Status:
        """Its services and extensions, and whether they answer. Raises AlgaenvError."""
        request, application = self._request()
        return application.status(request, self._on_event)

    def call(
        self,
        extension: str,
        path: str,
        *,
        method: str = "",
        json: Any = None,
        body: bytes | None = None,
        user: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Call a handler through the gateway, as one of its users; any status is an answer.

        `method` is GET, or POST with a body; `json` is encoded. The response has `status`,
        `headers` (lower-case names), `body` (bytes), `read()` (decoded JSON, else text) and `ms`.
        Raises AlgaenvError when there is no such extension or the gateway does not answer.
        """
        from algaenv.cli.gateway_client import GatewayRequest, send_request

        if json is not None:
            from json import dumps

            body = dumps(json).encode()
        verb = method.upper() or ("GET" if body is None else "POST")
        request, application = self._request()
        endpoint = application.endpoint_of(request, extension)
        named = {name.lower(): value for name, value in (headers or {}).items()}
        return send_request(endpoint, GatewayRequest(verb, path, body, user, named))

    def down(self, *, volumes: bool = False) -> None:
        """Take it down; its data stays unless `volumes`. Raises RunFailed."""
        request, application = self._request()
        self._check(application.down(request, self._on_event, volumes=volumes))
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._started:
            self._cancelled = lambda: False  # What ended the run does not end its removal.
            self.down()

    def _request(self, **more: Any) -> tuple[Request, UseCases]:
        from algaenv.dependencies import Request
        from algaenv.wiring import build_application

        request = Request(
            spec=self.spec,
            environ=self._environ,
            runtime=self._runtime,
            images=self._images,
            cancelled=self._cancelled,
            **more,
        )
        return request, build_application(request)

    @staticmethod
    def _check(report: Report) -> None:
        from algaenv.cli.exit_codes import ExitCode, report_exit_code

        code = report_exit_code(report)
        if code is not ExitCode.DONE:
            raise RunFailed(report, int(code))


def _starts_services(report: Report) -> bool:
    from algaenv.model.kind import kind_of

    return any(
        kind_of(it.step.address).runs
        and str(it.step.verb) in ("create", "start")
        and isinstance(it.outcome, Done | FailedStep | CutShort)
        for it in report.ended
    )
