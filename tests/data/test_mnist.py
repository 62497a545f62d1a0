import gzip
import struct

import numpy as np
import pytest
import sklearn.datasets
import torch

import theodolite as td
from theodolite.data import mnist
from theodolite.data.mnist import _read_idx


def write_idx(path, array, compress=False):
    raw = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw, 1) if compress else raw)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("mnist")
    for name, count in (("train", 60_000), ("t10k", 10_000)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(count) % 256
        write_idx(root / f"{name}-images-idx3-ubyte", images)
        write_idx(root / f"{name}-labels-idx1-ubyte.gz", np.arange(count) % 256 % 10, compress=True)
    return root


def no_network(*args, **kwargs):
    raise OSError("no network")


def test_folder(folder):
    split = mnist(100, 50, seed=1, folder=folder)
    assert split.x.shape == (100, 784)
    assert split.x_test.shape == (50, 784)
    assert float(split.x.max()) <= 1
    assert torch.equal((split.x[:, 0] * 255).round().long() % 10, split.y)
    assert torch.equal(split.y, mnist(100, 50, seed=1, folder=folder).y)
    assert not torch.equal(split.y, mnist(100, 50, seed=2, folder=folder).y)
    assert mnist(3, 1, folder=folder, images=True, dtype=torch.float64).x.shape == (3, 1, 28, 28)


def test_environment(folder, monkeypatch):
    monkeypatch.setenv("THEODOLITE_DATA", str(folder))
    assert mnist(5, 5).x.shape == (5, 784)


def test_without_any(monkeypatch, tmp_path):
    monkeypatch.delenv("THEODOLITE_DATA", raising=False)
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", no_network)
    with pytest.raises(td.StoreError, match="THEODOLITE_DATA"):
        mnist()
    with pytest.warns(td.TheodoliteWarning, match="digits"):
        split = mnist(100, 40, fallback=True)
    assert split.x.shape == (100, 64)
    assert split.x_test.shape == (40, 64)
    with pytest.raises(td.StoreError, match="is missing"):
        mnist(folder=tmp_path, fallback=True)


def test_damaged_file(tmp_path):
    path = tmp_path / "x"
    write_idx(path, np.zeros((3, 2, 2)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(td.StoreError, match="damaged"):
        _read_idx(path)
    path.write_bytes(b"<html>")
    with pytest.raises(td.StoreError, match="not an idx file"):
        _read_idx(path)


def test_out_of_range():
    with pytest.raises(td.ArgumentError, match="train"):
        mnist(0)
    with pytest.raises(td.ArgumentError, match="test"):
        mnist(10, 10_001)
