"""The page "which quantity for which worry": `pages.worries` joined with the registry."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path

from pages.text import linked, markdown_table, put
from pages.worries import WORRIES, Worry
from theodolite.core.registry import quantities, quantity_named

__all__ = ["page", "summary_of", "write"]

#: Columns of tables of quantities.
MEASURED = ("measure", "symbol", "definition", "where")


def summary_of(name: str) -> str:
    """The first line of the documentation of ``td.topic.function``.

    Raises:
        AttributeError: the package has no such public name.
    """
    import theodolite

    thing: object = theodolite
    for part in name.split(".")[1:]:
        thing = getattr(thing, part)
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def page() -> str:
    """The whole page as Markdown. Quantities that answer no worry of `pages.worries`, such as new ones, are listed at the end."""
    others = sorted(set(quantities()) - {name for worry in WORRIES for name in worry.quantities})
    overview = markdown_table(
        ["worry", "measure", "construct"],
        [
            (
                f"[{worry.question}](#worry-{number})",
                ", ".join(f"`{name}`" for name in worry.quantities) or "—",
                ", ".join(_reference(name) for name in worry.construct) or "—",
            )
            for number, worry in enumerate(WORRIES, 1)
        ],
    )
    parts = [
        "# Which quantity for which worry",
        "`td.diagnose(model, x, y)` measures all that a model and its data allow, and puts bad news first. This page goes the other way: "
        "from a question to the quantity, to what its verdict means, to what one can do about it. Any of the names below can be given to "
        '`td.diagnose(..., quantities=["…"])`, to `td.track` or, with `theodolite explain NAME`, to the command line.',
        overview,
        *(_section(number, worry) for number, worry in enumerate(WORRIES, 1)),
    ]
    if others:
        parts += ["## Other quantities", markdown_table(MEASURED, map(_row, others))]
    return "\n\n".join(parts) + "\n"


def _section(number: int, worry: Worry) -> str:
    parts = [f"(worry-{number})=\n## {worry.question}", linked(worry.answer)]
    if worry.quantities:
        parts.append(markdown_table(MEASURED, map(_row, worry.quantities)))
    if worry.verdicts:
        parts.append(
            markdown_table(["verdict", "meaning"], [(f"**{word}**", meaning) for word, meaning in worry.verdicts.items()])
        )
    for label, names in (("Theory", worry.theory), ("Construct", worry.construct)):
        if names:
            parts.append(f"**{label}**\n\n" + _listed(names))
    if worry.more:
        parts.append("Read on: " + ", ".join(f"{{doc}}`/{page}`" for page in worry.more) + ".")
    return "\n\n".join(parts)


def _row(name: str) -> tuple[str, str, str, str]:
    quantity = quantity_named(name)
    return f"`{name}`", f"`{quantity.symbol}`", quantity.summary, "each layer" if quantity.level == "layer" else "network"


def _listed(names: Iterable[str]) -> str:
    return "\n".join(f"- {_reference(name)}: {summary_of(name)}" for name in names)


def _reference(name: str) -> str:
    return f"{{py:obj}}`{name}`"


def write(target: Path) -> None:
    """Write the page."""
    put(target / "chooser.md", page())
