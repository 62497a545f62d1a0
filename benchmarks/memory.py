"""Peak resident memory of one call, by the kernel's own high-water mark."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field: str) -> float | None:
    """Megabytes of ``VmRSS`` (now) or ``VmHWM`` (highest so far) of this process; None where the system does not tell.

    ``ru_maxrss`` is not used: a child inherits its parent's mark there.
    """
    if not STATUS.is_file():
        return None
    found = re.search(rf"^{field}:\s*(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else None


def available_memory() -> float:
    """Bytes that can be taken without swapping; infinite where the system does not tell."""
    info = Path("/proc/meminfo")
    found = re.search(r"^MemAvailable:\s*(\d+) kB", info.read_text(), re.MULTILINE) if info.is_file() else None
    return 1024.0 * int(found[1]) if found else float("inf")


def peak_of(call: Callable[[], Any]) -> tuple[Any, dict[str, float] | None]:
    """The call's result, with the process's peak during it and how far that lies above what was resident before, in megabytes."""
    with contextlib.suppress(OSError):
        CLEAR.write_text("5")  # resets VmHWM to VmRSS
    before = resident("VmRSS")
    result = call()
    highest = resident("VmHWM")
    if before is None or highest is None:
        return result, None
    return result, {"peak_rss_mb": highest, "working_mb": max(0.0, highest - before)}
