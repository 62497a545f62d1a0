"""Large buffers kept instead of mapped afresh: a setting of the whole process, for workers and the command line.

Nothing here runs on import: a library must not change its host.
"""

from __future__ import annotations

import os
import sys

__all__ = ["keep_large_buffers", "large_buffers_environment"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_SMALLEST_MAPPING, _LARGEST_KEPT = 1 << 30, (1 << 31) - 1


def large_buffers_environment() -> dict[str, str]:
    """The same setting as variables for the environment of a worker that is about to be started; empty if opted out.

    Example:
        >>> sorted(large_buffers_environment()) in ([], ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"])
        True
    """
    if not _wanted():
        return {}
    return {"MALLOC_MMAP_THRESHOLD_": str(_SMALLEST_MAPPING), "MALLOC_TRIM_THRESHOLD_": str(_LARGEST_KEPT)}


def _wanted() -> bool:
    return os.environ.get("THEODOLITE_LARGE_BUFFERS", "1") != "0"


def keep_large_buffers() -> bool:
    """Let glibc's allocator keep freed buffers of up to a gigabyte instead of returning them to the system.

    By default every tensor of more than some hundred kilobytes is a fresh mapping, whose page faults can cost several times the
    arithmetic. The price is that the process does not give memory back. Call it where a process of our own starts, never in a host
    process. The environment variable ``THEODOLITE_LARGE_BUFFERS=0`` opts out.

    Returns:
        Whether the setting was made (glibc on Linux only).
    """
    import ctypes

    if not _wanted() or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _SMALLEST_MAPPING)) and bool(mallopt(_TRIM_THRESHOLD, _LARGEST_KEPT))
