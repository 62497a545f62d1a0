"""Verification: run the experiments, judge the claims, and write the table of claims. Resumable: finished records are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from theodolite.core.errors import ArgumentError, StoreError, TheodoliteError, unknown
from theodolite.core.experiment import Experiment
from theodolite.core.record import Record
from theodolite.core.reference import described
from theodolite.core.registry import claims, experiments, topics
from theodolite.draw.progress import progress
from theodolite.report.report import write as write_whole

__all__ = ["Row", "as_markdown", "between_markers", "papers", "read", "recorded", "verify", "write"]


@dataclass(frozen=True)
class Row:
    """One line of the table of claims."""

    claim: str
    statement: str
    paper: str
    experiment: str
    verdict: str
    condition: str
    evidence: str
    tolerance: str
    scale: str
    seeds: str

    @property
    def words(self) -> str:
        """The verdict with its condition, as Markdown."""
        return f"**{self.verdict}**" + (f": {self.condition}" if self.condition else "")


def verify(
    names: Sequence[str] | None = None, *, scale: str = "small", store: str | Path = "runs/verify", topic: str | None = None
) -> list[Row]:
    """Run experiments (all, or those named, or those of a topic) at a scale and judge their claims.

    Args:
        names: experiments; default all that claims are made about.
        scale: ``"small"`` (seconds each) or ``"paper"``.
        store: folder of the records; one that is there with the same settings is not run again.
        topic: only experiments of this topic.

    Returns:
        One `Row` per claim, by topic and experiment. An experiment that breaks down makes its claims undecided, with the error.

    Raises:
        UnknownNameError: a name or topic that does not exist.
    """
    if scale not in ("small", "paper"):
        raise ArgumentError(f"scale must be 'small' or 'paper', got {scale!r}")
    if topic is not None and topic not in topics():
        raise unknown("topic", topic, topics())
    known = experiments()
    for name in names or ():
        if name not in known:
            raise unknown("experiment", name, known)
    wanted = [n for n in (names or dict.fromkeys(c.experiment for c in claims())) if topic in (None, n.partition(".")[0])]
    rows: list[Row] = []
    for name in progress(sorted(wanted), "verifying"):
        rows += _judged(known[name].with_settings(scale), scale, Path(store))
    return rows


def _judged(experiment: Experiment, scale: str, store: Path) -> list[Row]:
    try:
        record = _record(experiment, store)
        verdicts = [(claim, v.word, v.condition, v.evidence) for claim, v in record.verify()]
    except (TheodoliteError, ArithmeticError, ValueError, RuntimeError) as error:
        reason = f"the experiment broke down: {type(error).__name__}: {error}"
        verdicts = [(claim, "undecided", "", reason) for claim in claims(experiment.name)]
    seeds = str(experiment.settings.get("seeds", experiment.settings.get("seed", "—")))
    return [
        Row(c.name, c.statement, c.reference, experiment.name, word, condition, evidence, c.tolerance, scale, seeds)
        for c, word, condition, evidence in verdicts
    ]


def _record(experiment: Experiment, store: Path) -> Record:
    path = store / f"{experiment.name}-{experiment.key}"
    try:
        return Record.load(path)
    except StoreError:
        record = experiment.run()
        record.save(path)
        return record


def read(path: Path) -> list[Row]:
    """The rows that `write` has put into the JSON file ``path``.

    Raises:
        StoreError: the file is no table of claims.
    """
    try:
        return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, TypeError, ValueError) as error:
        raise StoreError(f"{str(path)!r} is no table of claims written by theodolite verify --out: {error}") from error


def recorded(path: Path, rows: Sequence[Row]) -> list[Row]:
    """``rows``, each replaced by the row of the same claim in the JSON file ``path``, where there is one.

    Raises:
        StoreError: the file is no table of claims.
    """
    by_claim = {(row.experiment, row.statement): row for row in read(path)}
    return [by_claim.get((row.experiment, row.statement), row) for row in rows]


def write(rows: Iterable[Row], path: Path) -> None:
    """Write rows to ``path``: ``.json`` as records, ``.md`` as a table; atomically."""
    rows = list(rows)
    text = (
        json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)
        if path.suffix == ".json"
        else f"# Claims\n\n{as_markdown(rows)}"
    )
    write_whole(path, text + "\n")


def as_markdown(rows: Sequence[Row], evidence: bool = True) -> str:
    """The table of claims as Markdown."""
    head = ["experiment", "claim", "paper", "verdict", "size", *(["evidence"] if evidence else [])]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    previous = ""
    for row in rows:
        name = f"`{row.experiment}`" if row.experiment != previous else ""
        cells: list[Any] = [name, row.statement, row.paper, row.words, row.scale]
        previous = row.experiment
        lines.append(
            "| " + " | ".join(str(c).replace("|", "\\|") for c in [*cells, *([row.evidence] if evidence else [])]) + " |"
        )
    return "\n".join(lines)


def between_markers(text: str, name: str, content: str) -> str:
    """``text`` with what stands between ``<!-- name:begin -->`` and ``<!-- name:end -->`` replaced.

    Raises:
        ArgumentError: the markers are not there.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if begin not in text or end not in text:
        raise ArgumentError(f"the text must hold the markers {begin} and {end}")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{content}\n{end}{after}"


def with_verdicts(text: str, rows: Sequence[Row]) -> str:
    """``text`` with the table of all claims between its markers ``claims``, and the evidence of a topic between ``claims TOPIC``.

    Raises:
        ArgumentError: no such markers are there.
    """
    topics = sorted({row.experiment.partition(".")[0] for row in rows})
    tables = {"claims": as_markdown(rows, evidence=False)}
    tables |= {f"claims {t}": as_markdown([r for r in rows if r.experiment.startswith(f"{t}.")]) for t in topics}
    named = [name for name in tables if f"<!-- {name}:begin -->" in text]
    for name in named or ["claims"]:
        text = between_markers(text, name, tables[name])
    return text


def papers() -> str:
    """Every paper with the quantities, experiments and claims that cite it, and the figure or theorem that each is about."""
    from theodolite.core.reference import references
    from theodolite.core.registry import quantities

    cited: dict[str, list[str]] = {}
    uses = [
        *(("quantity", name, quantity.reference) for name, quantity in quantities().items()),
        *(("experiment", name, experiment.reference) for name, experiment in experiments().items()),
        *(("claim", claim.name, claim.reference) for claim in claims()),
    ]
    for kind, name, reference in uses:
        key, _, place = reference.partition(" ")
        cited.setdefault(key, []).append(f"{kind:<11}{name}{f': {place}' if place else ''}")
    blocks = []
    for key in sorted(references()):
        lines = "\n".join(f"    {use}" for use in cited.get(key, [])) or "    cited in the documentation"
        blocks.append(f"{key}: {described(key)}\n{lines}")
    return "\n\n".join(blocks)
