"""The table of claims with their evidence, from the rows that ``theodolite verify`` wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pages.chapters import ordered_topics
from pages.text import experiment_link, markdown_table, put
from theodolite.core.registry import claims
from theodolite.report.verify import Row, read

__all__ = ["page", "rows", "write"]

#: Written by ``make verdicts`` (small) and by ``theodolite verify --scale paper --out docs/claims/paper.json``.
FOLDER = Path(__file__).parents[1] / "claims"
WORDS = ("holds", "holds under", "fails", "undecided")


def rows() -> Mapping[str, Row]:
    """Claim -> its row: at the size of the paper where it was run at that size, else small."""
    found: dict[str, Row] = {}
    for scale in ("small", "paper"):
        path = FOLDER / f"{scale}.json"
        if path.is_file():
            found |= {row.claim: row for row in read(path)}
    known = {claim.name for claim in claims()}
    return {name: row for name, row in found.items() if name in known}


def page(judged: Mapping[str, Row]) -> str:
    """All claims by topic, with verdict and evidence; what has not been judged yet is listed as such."""
    counts = Counter(row.verdict for row in judged.values())
    shares = ", ".join(f"{counts[word]} *{word}*" for word in WORDS if counts[word])
    parts = [
        "# Claims and their verdicts",
        f"{len(claims())} statements of the literature are checked by code: {shares}. *Small* runs take seconds and cannot decide "
        "every claim; *paper* runs have the size of the paper. Each line names the experiment that repeats it.",
    ]
    for topic in ordered_topics():
        table = []
        for claim in claims():
            if not claim.name.startswith(f"{topic}."):
                continue
            row = judged.get(claim.name)
            table.append(
                (
                    claim.statement,
                    claim.reference,
                    row.words if row else "not judged yet",
                    row.evidence if row else "",
                    f"{experiment_link(claim.experiment)} ({row.scale if row else '—'})",
                )
            )
        if table:
            parts += [f"## {topic}", markdown_table(["claim", "paper", "verdict", "evidence", "experiment"], table)]
    return "\n\n".join(parts) + "\n"


def write(target: Path) -> None:
    """Write the page."""
    put(target / "claims.md", page(rows()))
