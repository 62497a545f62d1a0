"""The page of corrections: `pages.folklore` joined with the claims that test it, and every other claim that does not hold as stated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pages.chapters import ordered_topics
from pages.claims import rows
from pages.folklore import CORRECTIONS, REMARKS, Correction
from pages.text import experiment_link, linked, markdown_table, put
from theodolite.core.reference import described
from theodolite.core.registry import claims
from theodolite.report.verify import Row

__all__ = ["page", "write"]


def page(judged: Mapping[str, Row]) -> str:
    """The whole page as Markdown.

    Raises:
        LookupError: a correction names a claim that is not registered.
    """
    known = {claim.name: claim for claim in claims()}
    strangers = [c.claim for c in CORRECTIONS if c.claim not in known]
    if strangers:
        raise LookupError(f"docs/pages/folklore.py corrects claims that do not exist: {', '.join(strangers)}")
    parts = [
        "# Corrections to the literature's folklore",
        "Statements that are often repeated, some of them in papers and many in lecture notes and summaries, and what is true instead. "
        "Each was run: the verdict and the numbers behind it come from the experiment that is linked, so that anybody can repeat it with "
        "one command. A verdict belongs to the settings of its run; a small run is marked as such.",
    ]
    for topic in ordered_topics():
        mine = [c for c in CORRECTIONS if c.claim.startswith(f"{topic}.")]
        if mine:
            parts += [f"## {topic}", *(_correction(c, judged) for c in mine)]
    parts += ["## Conventions and attributions", "\n".join(f"- {linked(remark)}" for remark in REMARKS)]
    rest = _others(judged)
    if rest:
        head = ["claim", "paper", "verdict", "evidence", "experiment"]
        about = "Claims that, at the size of their paper, do not hold as they are stated, or hold under a condition that is not stated."
        parts += ["## Everything else that did not hold as stated", about, markdown_table(head, rest)]
    return "\n\n".join(parts) + "\n"


def _correction(correction: Correction, judged: Mapping[str, Row]) -> str:
    claim = next(c for c in claims() if c.name == correction.claim)
    row = judged.get(claim.name)
    verdict = "not judged yet" if row is None else f"**{row.verdict}**" + (f", {row.condition}" if row.condition else "")
    evidence = "" if row is None else f" {row.evidence.rstrip('.')}."
    scale = "" if row is None else f" ({row.scale} run)"
    return (
        f"### “{correction.said}”\n\n{linked(correction.true)}\n\n"
        f":::{{container}} evidence\nTested as: {claim.statement.rstrip('.')} ({_cited(claim.reference)}). Verdict: {verdict}.{evidence} "
        f"{experiment_link(claim.experiment)}{scale}\n:::"
    )


def _cited(reference: str) -> str:
    return described(reference).replace("*", "\\*")


def _others(judged: Mapping[str, Row]) -> list[tuple[str, str, str, str, str]]:
    told = {correction.claim for correction in CORRECTIONS}
    return [
        (
            row.statement,
            row.paper,
            row.words,
            row.evidence,
            f"{experiment_link(row.experiment)} ({row.scale})",
        )
        for name, row in judged.items()
        if row.scale == "paper" and row.verdict in ("fails", "holds under") and name not in told
    ]


def write(target: Path) -> None:
    """Write the page."""
    put(target / "corrections.md", page(rows()))
