"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import pickle
import uuid
from pathlib import Path
from typing import Any

import torch

from theodolite.core.errors import StoreError

__all__ = ["read", "write"]


def write(path: str | Path, content: dict[str, Any]) -> Path:
    """Write tensors, numbers, strings, lists and dicts of them to ``path`` atomically.

    The file is complete and on disk before it takes its name, so a process killed at any time leaves the old file or the new.

    Args:
        path: the file.
        content: what to write.

    Raises:
        StoreError: the file cannot be written.
    """
    path = Path(path)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(draft, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise StoreError(f"{path} could not be written: {error}; free space or choose another folder") from error
    finally:
        draft.unlink(missing_ok=True)
    return path


def read(path: str | Path) -> dict[str, Any]:
    """Read a file written by `write`; nothing in it is executed.

    Args:
        path: the file.

    Raises:
        StoreError: there is no such file, or it is damaged.
    """
    if not Path(path).is_file():
        raise StoreError(f"no file at {path}")
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise StoreError(f"{path} is damaged: {error}") from error
    return content
