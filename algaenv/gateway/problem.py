"""What went wrong and what to do about it, said beside the product's own short answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`code` is stable, `summary` begins with "cannot", and `hint` tells what to do."""

    code: str
    summary: str
    hint: str

    @property
    def fields(self) -> dict[str, str]:
        """As it stands in an answer."""
        return {"code": self.code, "summary": self.summary, "hint": self.hint}
