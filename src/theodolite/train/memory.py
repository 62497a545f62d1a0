"""Large buffers kept instead of mapped afresh: a setting of the whole process, for workers and the command line.

Nothing here runs on import: a library must not change its host.
"""

from __future__ import annotations

import os
import sys

__all__ = ["keep_large_buffers"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_large_buffers() -> bool:
    """Let glibc's allocator keep freed buffers of up to a gigabyte instead of returning them to the system.

    By default every tensor of more than some hundred kilobytes is a fresh mapping, whose page faults can cost several times the
    arithmetic. The price is that the process does not give memory back. Call it where a process of our own starts, never in a host
    process. The environment variable ``THEODOLITE_LARGE_BUFFERS=0`` opts out.

    Returns:
        Whether the setting was made (glibc on Linux only).
    """
    import ctypes

    if os.environ.get("THEODOLITE_LARGE_BUFFERS", "1") == "0" or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_TRIM_THRESHOLD, (1 << 31) - 1))
