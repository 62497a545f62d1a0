"""``theodolite check TARGET --fail-on chaotic,rank-collapse``: a diagnosis as a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from theodolite.cli.parse import command
from theodolite.core.errors import ArgumentError, TheodoliteError, unknown

if TYPE_CHECKING:
    from theodolite.report.report import Row

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


def run(target: str, /, fail_on: str = "bad", data: str = "digits", allow_pickle: bool = False) -> int:
    """Diagnose a network and exit with code 1 if a row carries one of the named verdicts.

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
    seen = [row for row in report.rows if row.value is not None]
    if not seen:
        reasons = {row.measured.reason for row in report.rows} or set(report.skipped.values())
        raise ArgumentError(f"nothing that --fail-on {fail_on} names could be measured: {'; '.join(sorted(reasons))}")
    print(f"{len(seen)} rows checked, {len(guilty)} with {', '.join(wanted)}")
    return 1 if guilty else 0


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
    if "bad" in words:
        return None
    return list(dict.fromkeys(q for v, q in VERDICTS.items() if any(_named(v, q, word) for word in words)))


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
    return row.judgement.level == "bad" if word == "bad" else _named(row.verdict, row.quantity, word)


def main(words: Sequence[str]) -> int:
    """Parse and run; 1 is kept for the named verdicts, so that what could not be checked at all is told from a network that fails."""
    try:
        return command(run, words, "check")
    except TheodoliteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
