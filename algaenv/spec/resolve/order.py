"""Sorts what needs one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence


def sorted_by_needs(
    needs: Mapping[str, Sequence[str]], found_circle: Callable[[tuple[str, ...]], None]
) -> tuple[str, ...]:
    """The names in their order as far as their needs allow, each after those that it needs.

    Needs that are no names are left out. `found_circle` is called once for each circle, with its
    names: each needs the next, and the last the first.
    """
    done: dict[str, None] = {}
    circles: set[frozenset[str]] = set()

    def visit(name: str, chain: tuple[str, ...]) -> None:
        if name in chain:
            circle = chain[chain.index(name) :]
            if frozenset(circle) not in circles:
                circles.add(frozenset(circle))
                found_circle(circle)
            return
        if name in done:
            return
        for need in needs[name]:
            if need in needs:
                visit(need, (*chain, name))
        done[name] = None

    for name in needs:
        visit(name, ())
    return tuple(done)
