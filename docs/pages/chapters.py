"""One chapter per topic: its README, then its quantities, experiments and reference, from the registry."""

from __future__ import annotations

import importlib
from pathlib import Path

from pages.text import experiment_link, markdown_table, put
from theodolite.core.registry import claims, experiments, quantities, topics

__all__ = ["chapter", "ordered_topics", "readme", "write"]

#: Reading order of our own topics; topics of others follow by name.
ORDER = ("rank", "condensation", "meanfield", "tangent", "piecewise", "generalization", "pde")


def ordered_topics() -> list[str]:
    """Topics in reading order."""
    return [*(t for t in ORDER if t in topics()), *(t for t in topics() if t not in ORDER)]


def readme(package: str) -> str:
    """The README of a topic's package."""
    return (Path(str(importlib.import_module(package).__file__)).parent / "README.md").read_text(encoding="utf-8")


def chapter(topic: str) -> str:
    """The chapter of one topic, as Markdown: the README as it stands, then what the registry adds to it."""
    package = importlib.import_module(topics()[topic])
    faces = set(getattr(package, "__all__", ()))
    measured = [
        (
            f"{{py:obj}}`{name} <td.{name}>`" if name.partition(".")[2] in faces else f"`{name}`",
            f"`{quantity.symbol}`",
            quantity.summary,
            "theory beside it" if quantity.prediction() else "",
        )
        for name, quantity in quantities().items()
        if quantity.topic == topic
    ]
    judged = [
        (experiment_link(name), str(len(claims(name))), _first_line(experiment))
        for name, experiment in experiments().items()
        if name.startswith(f"{topic}.")
    ]
    parts = [
        readme(topics()[topic]).rstrip(),
        f"## Functions and classes\n\nThe {{doc}}`reference of td.{topic} </generated/reference/td.{topic}>` describes each of them.",
    ]
    if measured:
        table = markdown_table(["quantity", "symbol", "definition", ""], measured)
        parts.append(f"## Quantities that a report, a run or a sweep can ask for by name\n\n{table}")
    if judged:
        table = markdown_table(["experiment", "claims", "shows"], judged)
        parts.append(f"## Executed experiments\n\n{table}")
    return "\n\n".join(parts) + "\n"


def _first_line(thing: type) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]


def write(target: Path) -> None:
    """Write all chapters, and the page that lists them."""
    for topic in ordered_topics():
        put(target / "topics" / f"{topic}.md", chapter(topic))
    entries = "\n".join(ordered_topics())
    put(target / "topics" / "index.md", f"# Topics\n\n```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```\n")
