"""How soon a wait notices that something answers, and when it gives up."""

from __future__ import annotations

import pytest

from algaenv.model.probe import NotYet, Probe, ProbeResult, RedisProbe, Yes
from algaenv.model.problem import NotReady, Problem, Unavailable
from algaenv.model.secret import Secret
from algaenv.reconcile.wait import WaitOptions, wait_until_answered, wait_until_available


class Clock:
    """Time that passes only in pauses and probes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.probes = 0

    def options(self, seconds: float) -> WaitOptions:
        return WaitOptions(seconds, clock=lambda: self.now, pause=self.pause)

    def pause(self, seconds: float) -> None:
        self.now += seconds


class AnswersAt:
    """A prober whose services answer from a moment on; each probe takes a millisecond."""

    def __init__(self, clock: Clock, moment: float) -> None:
        self._clock = clock
        self._moment = moment

    def probe(self, probe: Probe) -> ProbeResult:
        self._clock.probes += 1
        self._clock.now += 0.001
        return Yes() if self._clock.now >= self._moment else NotYet("nothing listens")

    def prewarm(self, request: object) -> ProbeResult:
        raise NotImplementedError


PROBE = RedisProbe("127.0.0.1", 6379, Secret("x"))


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.3, 1.0, 1.9, 30.0])
def test_an_answer_is_noticed_soon_and_without_many_probes(moment: float) -> None:
    clock = Clock()
    wait_until_answered(AnswersAt(clock, moment), PROBE, "container/redis", clock.options(60))
    assert clock.now - moment <= max(0.01, min(moment / 8, 0.25)) + 0.002
    assert clock.probes <= 40 + 4 * moment


def test_a_wait_ends_when_its_time_is_up() -> None:
    clock = Clock()
    with pytest.raises(NotReady, match=r"nothing listens \(waited 2 s\)"):
        wait_until_answered(AnswersAt(clock, 9.0), PROBE, "container/redis", clock.options(2))
    assert 2 <= clock.now < 2.01


def test_an_action_is_repeated_while_its_server_is_unavailable() -> None:
    clock = Clock()

    def action() -> str:
        if clock.now < 1.0:
            raise Unavailable(Problem("database-down", "cannot connect", "wait"))
        return "rows"

    assert wait_until_available(action, clock.options(5)) == "rows"
    assert clock.now <= 1.13
    clock.now = 0.0
    with pytest.raises(Unavailable):
        wait_until_available(action, clock.options(0.5))
