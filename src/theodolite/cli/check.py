"""``theodolite check TARGET --fail-on chaotic,rank-collapse``: a diagnosis as a test."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from theodolite.cli.parse import command
from theodolite.core.errors import ArgumentError

if TYPE_CHECKING:
    from theodolite.report.report import Row

__all__ = ["main", "matches"]


def run(target: str, /, fail_on: str = "bad", data: str = "digits", allow_pickle: bool = False) -> int:
    """Diagnose a network and exit with code 1 if a row carries one of the named verdicts.

    Args:
        target: file.py:factory, package.module:factory, or a torch.export .pt2 file.
        fail_on: verdicts, separated by commas: a verdict (chaotic), topic-verdict (rank-collapsed; a beginning is enough), or bad for
            every row that is bad news.
        data: digits, a .npz file with arrays x and y, or module:function.
        allow_pickle: load a pickled module, which runs any code it holds.
    """
    from theodolite.cli.target import load_data, load_model
    from theodolite.report.diagnose import diagnose

    wanted = [word.strip().lower() for word in fail_on.split(",") if word.strip()]
    if not wanted:
        raise ArgumentError("--fail-on must name at least one verdict, such as chaotic,rank-collapse")
    model = load_model(target, allow_pickle)
    report = diagnose(model, *load_data(data, model))
    guilty = [row for row in report.rows if any(matches(row, word) for word in wanted)]
    for row in guilty:
        print(f"{row.quantity} at {row.layer or 'network'}: {row.verdict}. {row.advice}", file=sys.stderr)
    print(f"{len(report)} rows checked, {len(guilty)} with {', '.join(wanted)}")
    return 1 if guilty else 0


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
    verdict = row.verdict.lower().replace(" ", "-")
    topic = row.quantity.partition(".")[0]
    return bool(verdict) and (verdict.startswith(word) or f"{topic}-{verdict}".startswith(word))


def main(words: Sequence[str]) -> int:
    """Parse and run."""
    return command(run, words, "check")
