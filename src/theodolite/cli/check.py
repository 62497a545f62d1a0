"""``theodolite check TARGET --fail-on chaotic,rank-collapse``: a diagnosis as a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from theodolite.cli.parse import command
from theodolite.core.errors import ArgumentError, TheodoliteError, unknown

if TYPE_CHECKING:
    from theodolite.report.report import Report, Row

__all__ = ["VERDICTS", "main", "matches"]

#: Verdict -> the quantity whose judge gives it; what --fail-on can name, besides bad.
VERDICTS = {
    "chaotic": "meanfield.chi_1",
    "ordered": "meanfield.chi_1",
    "no gradient": "meanfield.chi_1",
    "inputs merge": "meanfield.correlation",
    "inputs close": "meanfield.correlation",
    "signal vanishes": "meanfield.q_length",
    "signal explodes": "meanfield.q_length",
    "collapsed": "rank.epsilon_rank",
    "redundant": "rank.epsilon_rank",
    "dependent": "rank.numerical_rank",
    "one direction": "rank.stable_rank",
    "condensed": "condensation.count_directions",
    "dead neurons": "piecewise.dead_fraction",
    "ill conditioned": "tangent.condition_number",
    "not separated": "generalization.output_margin",
    "above random weights": "generalization.spectral_norm",
}


#: Quantity -> what its judge says where the number was measured, but its verdicts do not apply: targets that are no class labels,
#: weights that were not read off the network, a network in which one layer's slope decides no phase.
UNDECIDED = {
    "generalization.output_margin": "",
    "generalization.spectral_norm": "",
    "meanfield.chi_1": "of this layer alone",
}


def run(target: str, /, fail_on: str = "bad", data: str = "digits", allow_pickle: bool = False) -> int:
    """Diagnose a network: exit with code 1 if a row carries one of the named verdicts, 2 if one of them could not be checked.

    Args:
        target: file.py:factory, package.module:factory, or a torch.export .pt2 file.
        fail_on: verdicts, separated by commas: chaotic, ordered, no-gradient, inputs-merge, inputs-close, signal-vanishes,
            signal-explodes, rank-collapse, redundant, dependent, one-direction, condensed, dead-neurons, ill-conditioned,
            not-separated, above-random-weights, or bad for every row that is bad news.
        data: digits, a .npz file with arrays x and y, or module:function.
        allow_pickle: load a pickled module, which runs any code it holds.
    """
    from theodolite.cli.target import load_data, load_model
    from theodolite.report.diagnose import diagnose

    wanted = _wanted(fail_on)
    model = load_model(target, allow_pickle)
    report = diagnose(model, *load_data(data, model), quantities=_needed(wanted))
    guilty = [row for row in report.rows if any(matches(row, word) for word in wanted)]
    for row in guilty:
        print(f"{row.quantity} at {row.layer or 'network'}: {row.verdict}. {row.advice}", file=sys.stderr)
    gaps = _gaps(report, wanted)
    told = "; ".join(f"{words} not checked, because {quantity} {reason}" for (words, quantity), reason in gaps.items())
    if gaps and not guilty:
        raise ArgumentError(f"--fail-on {fail_on} would pass unseen: {told}; give what is missing, or leave the verdict out")
    if gaps:
        print(told, file=sys.stderr)
    seen = [row for row in report.rows if row.value is not None]
    missing = len(report.rows) - len(seen)
    print(
        f"{len(seen)} rows checked, {len(guilty)} with {', '.join(wanted)}"
        + (f"; {missing} could not be measured" if missing else "")
    )
    return 1 if guilty else 0


def _gaps(report: Report, words: Sequence[str]) -> Mapping[tuple[str, str], str]:
    """(words of --fail-on, quantity that decides them) -> why no row of it does; empty when each word was decided somewhere."""
    found: dict[tuple[str, str], str] = {}
    for quantity in _named_quantities(words):
        rows = [row for row in report.rows if row.quantity == quantity]
        if any(row.value is not None and row.verdict != UNDECIDED.get(quantity) for row in rows):
            continue
        about = ", ".join(word for word in words if quantity in _named_quantities([word]))
        found[about, quantity] = _why(report, quantity, rows)
    if "bad" in words and not any(row.value is not None for row in report.rows):
        found["bad", "every quantity"] = f"could not be measured: {'; '.join(sorted(set(report.skipped.values())))}"
    return found


def _why(report: Report, quantity: str, rows: Sequence[Row]) -> str:
    if any(row.value is not None for row in rows):
        return "was measured, but its verdicts do not apply to this network and these data"
    reasons = {row.measured.reason for row in rows} or {report.skipped.get(quantity, "no layer was observed")}
    return f"could not be measured: {'; '.join(sorted(reasons))}"


def _wanted(fail_on: str) -> list[str]:
    """The words of --fail-on, checked: a typing error must not let a broken network pass.

    Raises:
        ArgumentError: no word. UnknownNameError: a word that no verdict begins with; the nearest are listed.
    """
    words = [word.strip().lower().replace(" ", "-") for word in fail_on.split(",") if word.strip()]
    if not words:
        raise ArgumentError("--fail-on must name at least one verdict, such as chaotic,rank-collapse")
    for word in words:
        if word != "bad" and not any(_named(verdict, quantity, word) for verdict, quantity in VERDICTS.items()):
            raise unknown("verdict", word, ["bad", *_names()])
    return words


def _names() -> Iterator[str]:
    for verdict, quantity in VERDICTS.items():
        name = verdict.replace(" ", "-")
        yield name
        yield f"{quantity.partition('.')[0]}-{name}"


def _needed(words: Sequence[str]) -> list[str] | None:
    """The quantities that the words are about; None for all."""
    return None if "bad" in words else _named_quantities(words)


def _named_quantities(words: Sequence[str]) -> list[str]:
    """The quantities whose judges give the verdicts that the words name, in the order of the table; ``bad`` names none."""
    return list(dict.fromkeys(q for v, q in VERDICTS.items() if any(word != "bad" and _named(v, q, word) for word in words)))


def _named(verdict: str, quantity: str, word: str) -> bool:
    """Whether ``word`` is the beginning of the verdict, or of ``topic-verdict``."""
    verdict, topic = verdict.lower().replace(" ", "-"), quantity.partition(".")[0]
    return bool(verdict) and (
        verdict.startswith(word) or (f"{topic}-{verdict}".startswith(word) and word.startswith(f"{topic}-"))
    )


def matches(row: Row, word: str) -> bool:
    """Whether a row carries the verdict ``word``: ``bad``, the beginning of its verdict, or of ``topic-verdict``.

    Example:
        >>> from theodolite.core.measurement import Judgement, Measurement
        >>> from theodolite.report.report import Row
        >>> row = Row("rank.epsilon_rank", "r", "1", Measurement(1.0), None, Judgement("collapsed", level="bad"), "yang2024", 9)
        >>> [matches(row, w) for w in ("bad", "collapsed", "rank-collapse", "chaotic", "meanfield-collapse")]
        [True, True, True, False, False]
    """
    if word == "bad":
        return row.judgement.level == "bad"
    # Judges also say what nothing is wrong with: rank- must not name "rank-full", nor c "critical".
    return VERDICTS.get(row.verdict) == row.quantity and _named(row.verdict, row.quantity, word)


def main(words: Sequence[str]) -> int:
    """Parse and run; 1 is kept for the named verdicts, so that what could not be checked at all is told from a network that fails."""
    try:
        return command(run, words, "check")
    except TheodoliteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
