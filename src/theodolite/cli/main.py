"""Dispatch: the first word names a command, whose module parses the rest. Nothing heavy is imported before that."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence

from theodolite.core.errors import TheodoliteError, UnknownNameError, unknown
from theodolite.core.memory import keep_large_buffers

__all__ = ["COMMANDS", "main"]

#: Command -> what it does; each is a module of this package with ``main(arguments) -> exit code``.
COMMANDS = {
    "diagnose": "measure a network, with theory beside the measurements, verdicts and advice",
    "demo": "train on digits, diagnose before and after, prune with a certificate, write a report",
    "list": "quantities, experiments and claims by name",
    "explain": "what a quantity, experiment or claim means, and its paper",
    "reproduce": "run an experiment of the literature and check its claims",
    "verify": "check the claims of all topics and write the table of verdicts",
    "papers": "the papers, and what of them is reproduced",
    "check": "diagnose and fail (exit code 1) on named verdicts, for continuous integration",
    "sweep": "run an experiment over a grid: resumable, parallel, on a cluster",
    "prune": "remove redundant neurons, with an error certificate",
    "shallow": "rewrite a piecewise-linear network as an equal three-layer one",
    "init": "initialise a network at criticality",
    "serve": "explore phase planes, linear regions and sweeps in the browser",
    "bench": "run a benchmark beside its peers and the machine's floor",
    "doctor": "versions, devices, threads and optional packages",
}


def available() -> dict[str, str]:
    """The commands whose modules are there."""
    return {name: about for name, about in COMMANDS.items() if importlib.util.find_spec(f"theodolite.cli.{name}")}


def usage() -> str:
    """The top-level help."""
    rows = "\n".join(f"  {name:<11}{about}" for name, about in available().items())
    return (
        "usage: theodolite COMMAND [options]\n\n"
        "A laboratory for the theory of deep learning.\n\n"
        f"commands:\n{rows}\n\n"
        "theodolite COMMAND --help shows a command's options; --config FILE.yaml gives defaults for them.\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    if arguments is None:
        keep_large_buffers()  # this process is ours
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        from theodolite import __version__

        print(__version__)
        return 0
    try:
        if words[0] not in available():
            raise unknown("command", words[0], available())
        module = importlib.import_module(f"theodolite.cli.{words[0]}")
        return int(module.main(words[1:]) or 0)
    except UnknownNameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TheodoliteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
