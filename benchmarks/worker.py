"""The other end of `benchmarks.elsewhere`: makes one call in this interpreter as often as it is asked to, and says what it cost.

Only the standard library is imported here, because the interpreter is a peer's and may hold anything.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from benchmarks.memory import peak_of


def answer(request: tuple[Any, ...], state: dict[str, Callable[[], Any]]) -> tuple[Any, ...]:
    """One reply: ``("made",)``, ``("done", result, CPU seconds, wall seconds, peak)`` or ``("error", text)``."""
    try:
        if request[0] == "make":
            _, function, arguments = request
            module, name = function.split(":")
            state["call"] = getattr(importlib.import_module(module), name)(**arguments)
            return ("made",)
        cpu, wall = time.process_time(), time.perf_counter()
        result, peak = peak_of(state["call"]) if request[0] == "first" else (state["call"](), None)
        return "done", result, time.process_time() - cpu, time.perf_counter() - wall, peak
    except BaseException as error:  # SystemExit too: some packages leave the process where something is missing
        lines = str(error).strip().splitlines() or [""]
        return "error", f"{type(error).__name__}: {lines[0]}"


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer until the other side closes."""
    state: dict[str, Callable[[], Any]] = {}
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(answer(request, state), replies)
        replies.flush()


if __name__ == "__main__":
    # What a peer prints goes to the error stream, so that the replies stay alone on theirs.
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, channel)
