"""``theodolite list [quantities|experiments|claims]``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Literal

from theodolite.cli.parse import command

__all__ = ["main"]


def run(what: Literal["all", "quantities", "experiments", "claims"] = "all", /, topic: str | None = None) -> None:
    """List quantities, experiments and claims by name.

    Args:
        what: which of them.
        topic: only those of one topic.
    """
    from theodolite.core import registry
    from theodolite.core.errors import unknown

    if topic is not None and topic not in registry.topics():
        raise unknown("topic", topic, registry.topics())

    def chosen(name: str) -> bool:
        return topic is None or name.startswith(f"{topic}.")

    if what in ("all", "quantities"):
        _section("quantities", {n: f"{q.symbol}: {q.summary}" for n, q in registry.quantities().items() if chosen(n)})
    if what in ("all", "experiments"):
        found = {n: (inspect.getdoc(e) or "").partition("\n")[0] for n, e in registry.experiments().items() if chosen(n)}
        _section("experiments", found)
    if what in ("all", "claims"):
        _section("claims", {c.name: c.statement for c in registry.claims() if chosen(c.name)})


def _section(title: str, rows: dict[str, str]) -> None:
    import shutil

    width = max((len(name) for name in rows), default=0)
    room = max(20, shutil.get_terminal_size((120, 40)).columns - width - 5)
    print(f"{title} ({len(rows)})")
    for name, about in rows.items():
        print(f"  {name:<{width}}  {about if len(about) <= room else about[: room - 1] + '…'}")
    print()


def main(words: Sequence[str]) -> int:
    """Parse and run."""
    command(run, words, "list")
    return 0
