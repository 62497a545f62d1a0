"""``theodolite reproduce NAME [--setting value …]``: the settings are the experiment's fields."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from theodolite.cli.parse import read_config, split_config
from theodolite.core.errors import ArgumentError

__all__ = ["main"]

USAGE = """usage: theodolite reproduce NAME [--scale paper|small] [--out FOLDER] [--config FILE.yaml] [--SETTING VALUE …]

Run an experiment of the literature, check its claims, and write its record and figure to FOLDER
(default runs/NAME). --scale paper is the size of the paper (default), --scale small takes seconds.
theodolite list experiments shows the names; theodolite reproduce NAME --help shows the settings.
"""


def main(words: Sequence[str]) -> int:
    """Parse and run."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, rest = words[0], list(words[1:])
    rest, config = split_config(rest)
    settings = _settings(config)
    rest, scale = _option(rest, "scale", str(settings.pop("scale", "paper")))
    rest, out = _option(rest, "out", str(settings.pop("out", f"runs/{name}")))

    import tyro

    from theodolite.core.registry import experiment

    kind = experiment(name)
    default = kind.with_settings(scale, **settings)
    made = tyro.cli(kind, args=rest, default=default, prog=f"theodolite reproduce {name}")
    record = made.run()
    folder = Path(out)
    record.save(folder / "record.zarr")
    figure = record.figure()
    figure.savefig(folder / "figure.png")
    figure.savefig(folder / "figure.pdf")
    print(record.verify())
    print(f"\nwrote {folder}/record.zarr, figure.png, figure.pdf", file=sys.stderr)
    return 0


def _settings(config: str | None) -> dict[str, object]:
    settings = read_config(config) if config else {}
    return {k.replace("-", "_"): tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


def _option(words: list[str], name: str, default: str) -> tuple[list[str], str]:
    """The words without ``--name VALUE``, and VALUE."""
    for i, word in enumerate(words):
        if word.startswith(f"--{name}="):
            return [*words[:i], *words[i + 1 :]], word.partition("=")[2]
        if word == f"--{name}":
            if i + 1 >= len(words):
                raise ArgumentError(f"--{name} must be followed by a value")
            return [*words[:i], *words[i + 2 :]], words[i + 1]
    return words, default
