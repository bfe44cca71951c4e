"""Events as lines of JSON on stdout, the report last: for programs that follow a run."""

from __future__ import annotations

import json
from typing import TextIO

from algaenv.model.event import Event
from algaenv.surface.lines import STOPPING
from algaenv.surface.output import cut_in
from algaenv.surface.shapes import Shape, of_event
from algaenv.surface.visible import visible_json


def line(shape: Shape) -> str:
    """One line of JSON, newline included; text stays readable, controls are escaped."""
    return visible_json(json.dumps(shape, ensure_ascii=False)) + "\n"


class JsonLines:
    """Writes every event as soon as it is heard."""

    def __init__(self, stream: TextIO, messages: TextIO) -> None:
        self._stream = stream
        self._messages = messages

    def emit(self, event: Event) -> None:
        """Write it."""
        self._stream.write(line(of_event(event)))
        self._stream.flush()

    def stopping(self) -> None:
        """Whoever pressed the key hears it; the program will read it in the report."""
        cut_in(self._messages, f"{STOPPING}\n")

    def close(self) -> None:
        """Nothing to tidy."""
