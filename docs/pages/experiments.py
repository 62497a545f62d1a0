"""Gallery scripts, one per experiment: reproduce, look, judge. Made from the registry and executed when the pages are built."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

from pages.chapters import ordered_topics, readme
from pages.text import plain_to_rst, put
from theodolite.core.experiment import Experiment
from theodolite.core.reference import described
from theodolite.core.registry import claims, experiments, topics

__all__ = ["script", "title", "topics_with_experiments", "write"]

#: Words of names that are not to be put in lower case.
SPELLING = {"pinn": "PINN", "rfm": "RFM", "elm": "ELM", "pl": "PL", "mlp": "MLP", "resnet": "ResNet", "batchnorm": "BatchNorm"}
#: Longest setting shown in full.
ROOM = 48


def title(name: str) -> str:
    """``"pde.pinn_rank"`` as a heading: ``"PINN rank"``."""
    words = [SPELLING.get(word, word) for word in name.partition(".")[2].split("_")]
    return words[0][0].upper() + words[0][1:] + "".join(f" {word}" for word in words[1:])


def script(experiment: type[Experiment]) -> str:
    """The gallery script of one experiment."""
    name, heading = experiment.name, title(experiment.name)
    documentation = inspect.getdoc(experiment) or ""
    about = re.split(r"\n(?:Attributes|Args|Class attributes|Reference|Example|Cost|Note)s?:", documentation)[0]
    paper = f"Paper: {described(experiment.reference)}." if experiment.reference else ""
    header = "\n\n".join(
        part
        for part in (
            f"{heading}\n{'=' * len(heading)}",
            "\n".join(plain_to_rst(line) for line in about.strip().splitlines()),
            plain_to_rst(paper),
        )
        if part
    )
    settings = "\n".join(f"# {line}".rstrip() for line in _settings_table(experiment).splitlines())
    verdicts = "# What the literature says of it, judged on this record:" if claims(name) else "# No claim is made about it."
    return textwrap.dedent(
        '''\
        r"""
        {header}
        """

        import theodolite as td

        record = td.reproduce("{name}", scale="small")
        figure = record.figure()

        # %%
        {verdicts}

        print(record.verify())

        # %%
        {settings}
        '''
    ).format(header=header, name=name, verdicts=verdicts, settings=settings)


def _settings_table(experiment: type[Experiment]) -> str:
    about = experiment.meanings()
    rows = [
        (f"``{f.name}``", plain_to_rst(about.get(f.name, "")), _shown(f.default), _shown(experiment.small.get(f.name, f.default)))
        for f in dataclasses.fields(experiment)  # type: ignore[arg-type]
    ]
    if not rows:
        return ""
    lines = [".. list-table:: Settings", "   :header-rows: 1", "   :widths: 18 46 18 18", ""]
    for row in [("setting", "meaning", "paper size", "here"), *rows]:
        lines += [f"   {'* -' if k == 0 else '  -'} {cell}".rstrip() for k, cell in enumerate(row)]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    text = repr(value)
    if len(text) > ROOM and isinstance(value, (tuple, list, range)):
        text = f"{len(value)} values, {value[0]!r} … {value[-1]!r}"
    return f"``{text if len(text) <= ROOM else text[: ROOM - 1] + '…'}``"


def write(target: Path) -> None:
    """Write all scripts and the headings of the gallery; scripts of experiments that are gone are removed."""
    folder = target / "experiments"
    wanted = {folder / name.partition(".")[0] / f"{name.replace('.', '_')}.py": found for name, found in experiments().items()}
    for stale in set(folder.glob("*/*.py")) - set(wanted):
        stale.unlink()
    for path, found in wanted.items():
        put(path, script(found))
    put(
        folder / "GALLERY_HEADER.rst",
        "Experiments\n===========\n\nEvery experiment of the literature that the package reproduces, run at a size that takes seconds when "
        "these pages are built. The figure is drawn and the claims are judged from that very record. A small run cannot decide every "
        "claim; ``td.reproduce(name)`` without ``scale`` repeats an experiment at the size of its paper.\n",
    )
    for topic in topics_with_experiments():
        heading = _heading(topics()[topic])
        put(folder / topic / "GALLERY_HEADER.rst", f"{heading}\n{'-' * len(heading)}\n")


def topics_with_experiments() -> list[str]:
    """In reading order."""
    return [topic for topic in ordered_topics() if any(name.startswith(f"{topic}.") for name in experiments())]


def _heading(package: str) -> str:
    """The heading of the topic's README."""
    return readme(package).partition("\n")[0].removeprefix("# ")
