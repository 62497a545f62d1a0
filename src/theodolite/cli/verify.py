"""``theodolite verify``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from theodolite.cli.parse import command

__all__ = ["main"]


def run(
    names: tuple[str, ...] = (),
    /,
    scale: Literal["small", "paper"] = "small",
    topic: str | None = None,
    store: Path = Path("runs/verify"),
    out: Path | None = None,
    into: tuple[Path, ...] = (),
    over: Path | None = None,
) -> None:
    """Run the experiments, judge the claims of the literature, and print the table of verdicts. Finished records are reused.

    Args:
        names: experiments; default all.
        scale: small takes seconds per experiment, paper is the size of the papers.
        topic: only experiments of one topic.
        store: folder in which records are kept between runs.
        out: also write the table here, as .md or .json.
        into: Markdown files whose text between <!-- claims:begin --> and <!-- claims:end --> becomes the table of verdicts, and
            that between <!-- claims TOPIC:begin --> and its end the table of one topic, with the evidence.
        over: a .json table of an earlier run, at paper size say, whose verdicts take the place of these in the pages of --into.
    """
    from theodolite.report.verify import recorded, verify, with_verdicts, write

    rows = verify(list(names) or None, scale=scale, store=store, topic=topic)
    previous = ""
    for row in rows:
        if row.experiment != previous:
            print(f"\n{row.experiment} ({row.scale}, seeds {row.seeds})")
            previous = row.experiment
        print(f"  {row.verdict:>11}  {row.statement} [{row.paper}]")
        if row.condition:
            print(f"{'':>15}only if {row.condition}")
        print(f"{'':>15}{row.evidence}")
    counts = Counter(row.verdict for row in rows)
    print("\n" + ", ".join(f"{counts[word]} {word}" for word in ("holds", "holds under", "fails", "undecided") if counts[word]))
    if out is not None:
        write(rows, out)
        print(f"wrote {out}")
    shown = rows if over is None else recorded(over, rows)
    for page in into:
        page.write_text(with_verdicts(page.read_text(encoding="utf-8"), shown), encoding="utf-8")
        print(f"updated {page}")


def main(words: Sequence[str]) -> int:
    """Parse and run."""
    command(run, words, "verify")
    return 0
