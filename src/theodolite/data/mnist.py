"""MNIST: 70 000 handwritten digits of 28 × 28, from a folder of idx files or through scikit-learn's OpenML client."""

from __future__ import annotations

import functools
import gzip
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import torch

from theodolite.core.errors import ArgumentError, StoreError, TheodoliteWarning
from theodolite.core.seed import generator
from theodolite.data.digits import Split, digits

__all__ = ["mnist"]

_FILES = {
    "x": "train-images-idx3-ubyte",
    "y": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def mnist(
    train: int = 60_000,
    test: int = 10_000,
    seed: int = 0,
    *,
    folder: str | Path | None = None,
    fallback: bool = False,
    images: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Split:
    """MNIST with pixels in [0, 1]: ``train`` of its 60 000 training and ``test`` of its 10 000 test images, drawn by ``seed``.

    Looked for in this order: the idx files (plain or gzipped) in ``folder``; those in the folder named by the environment
    variable ``THEODOLITE_DATA``, or in its subfolder ``mnist``; `sklearn.datasets.fetch_openml`, which downloads once and caches.

    Args:
        train: number of training images, 1 … 60 000.
        test: number of test images, 1 … 10 000.
        seed: of the choice and the order; with all images only the order depends on it.
        folder: folder of the four idx files.
        fallback: when no MNIST can be found, return the 8 × 8 digits of scikit-learn instead, with a warning, rather than fail.
        images: shape (N, 1, 28, 28) instead of (N, 784).
        dtype: of the pixels.

    Returns:
        `Split`, labels 0 … 9.

    Raises:
        StoreError: no MNIST here, none to be downloaded, and no fallback wanted; or a damaged idx file.
        ArgumentError: numbers of images out of range.

    Warns:
        TheodoliteWarning: the digits were returned in its place.

    Example:
        >>> split = mnist(1000, 500)                                              # doctest: +SKIP
        >>> split.x.shape                                                         # doctest: +SKIP
        torch.Size([1000, 784])
    """
    if not 1 <= train <= 60_000 or not 1 <= test <= 10_000:
        raise ArgumentError(f"train must lie in 1..60000 and test in 1..10000, got {train} and {test}")
    try:
        x, y, x_test, y_test = _arrays(folder)
    except StoreError as error:
        if not fallback or folder is not None:
            raise
        warnings.warn(f"{error}; the 8 × 8 digits of scikit-learn are used in its place", TheodoliteWarning, stacklevel=2)
        small = digits(min(train, 1437), seed, images=images, dtype=dtype)
        return Split(small.x, small.y, small.x_test[:test], small.y_test[:test])
    parts = []
    for name, pixels, labels, count in (("train", x, y, train), ("test", x_test, y_test, test)):
        order = torch.randperm(len(pixels), generator=generator(seed, "mnist", name))[:count]
        shape = (-1, 1, 28, 28) if images else (-1, 784)
        parts += [torch.from_numpy(pixels)[order].to(dtype).div_(255).view(shape), torch.from_numpy(labels)[order]]
    return Split(*parts)


def _arrays(folder: str | Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (N, 784) as bytes and labels as integers, of the training and the test part."""
    if folder is not None:
        return _from_folder(Path(folder))
    named = os.environ.get("THEODOLITE_DATA")
    for candidate in (Path(named), Path(named) / "mnist") if named else ():
        if _idx_file(candidate, "x") is not None:
            return _from_folder(candidate)
    return _from_openml()


def _idx_file(folder: Path, part: str) -> Path | None:
    """The idx file of a part, plain or gzipped, with either spelling of its name."""
    name = _FILES[part]
    for spelling in (name, name.replace("-idx", ".idx")):
        for path in (folder / spelling, folder / f"{spelling}.gz"):
            if path.is_file():
                return path
    return None


@functools.lru_cache(maxsize=2)
def _from_folder(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    arrays = []
    for part, name in _FILES.items():
        path = _idx_file(folder, part)
        if path is None:
            raise StoreError(f"no MNIST in {folder}: the file {name} (or {name}.gz) is missing; put the four idx files there")
        array = _read_idx(path)
        arrays.append(array.reshape(len(array), -1) if part.startswith("x") else array.astype(np.int64))
    x, y, x_test, y_test = arrays
    if x.shape != (60_000, 784) or x_test.shape != (10_000, 784) or len(y) != len(x) or len(y_test) != len(x_test):
        raise StoreError(
            f"the idx files in {folder} are not MNIST: got images {x.shape}, {x_test.shape}; labels {len(y)}, {len(y_test)}"
        )
    return x, y, x_test, y_test


def _read_idx(path: Path) -> np.ndarray:
    """An idx file: two zero bytes, a type, the number of dimensions, their sizes (big-endian), the data."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        raw = stream.read()
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _DTYPES:
        raise StoreError(f"{path} is not an idx file: it starts with {raw[:4]!r}; fetch it again")
    shape = struct.unpack_from(f">{raw[3]}I", raw, 4)
    dtype = np.dtype(_DTYPES[raw[2]])
    start, size = 4 + 4 * raw[3], int(np.prod(shape)) * dtype.itemsize
    if len(raw) - start != size:
        raise StoreError(f"{path} is damaged: its header promises {size} bytes, it holds {len(raw) - start}; fetch it again")
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).copy()


@functools.lru_cache(maxsize=1)
def _from_openml() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_openml

    try:
        x, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, parser="liac-arff", n_retries=1, delay=0.1)
    except Exception as error:  # the client raises whatever its transport does
        raise StoreError(
            "no MNIST here: no folder of idx files was given (argument folder, or the environment variable THEODOLITE_DATA), and "
            f"OpenML could not be reached ({type(error).__name__}: {error}); download the four idx files and name their folder, "
            "or pass fallback=True for scikit-learn's 8 × 8 digits"
        ) from error
    pixels, labels = x.astype(np.uint8), y.astype(np.int64)
    return pixels[:60_000], labels[:60_000], pixels[60_000:], labels[60_000:]
