"""Large arrays block by block: equal to the whole, symmetric, resumed, on workers, refused when they are another job."""

import lab_cells
import numpy as np
import pytest
import zarr

from theodolite.core.errors import ArgumentError, StoreError
from theodolite.lab import Grid, Workers, fill_blocks, fill_grid
from theodolite.lab.storage import open_storage

KERNEL = lab_cells.BlockKernel(np.random.default_rng(0).normal(size=(23, 4)))
WHOLE = KERNEL.x @ KERNEL.x.T


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("block", [1, 5, 23, 40])
@pytest.mark.parametrize("place", ["array", "folder", "memory"])
def test_blocks_make_the_whole(tmp_path, place, block, symmetric):
    out = {"array": None, "folder": tmp_path / "k", "memory": f"memory://{tmp_path}"}[place]
    kernel = fill_blocks(KERNEL, (23, 23), (block, block), out=out, symmetric=symmetric)
    assert kernel.shape == (23, 23)
    np.testing.assert_allclose(kernel[:], WHOLE, rtol=1e-13)
    if symmetric:
        np.testing.assert_array_equal(kernel[:], kernel[:].T)


def test_trailing_axes_are_not_cut():
    x = np.arange(30.0).reshape(5, 6)
    whole = np.einsum("ia,jb->ijab", x, x)
    found = fill_blocks(lambda i, j: np.einsum("ia,jb->ijab", x[i], x[j]), whole.shape, (2, 2))
    np.testing.assert_array_equal(found, whole)
    np.testing.assert_array_equal(fill_blocks(lambda i: x[i], x.shape, (2,)), x)


def test_only_missing_blocks_are_computed(tmp_path):
    calls = []

    def compute(rows, columns):
        calls.append((rows.start, columns.start))
        if len(calls) == 4:
            raise ArithmeticError("interrupted")
        return KERNEL(rows, columns)

    with pytest.raises(ArithmeticError):
        fill_blocks(compute, (23, 23), (10, 10), out=tmp_path / "k", symmetric=True)
    kernel = fill_blocks(compute, (23, 23), (10, 10), out=tmp_path / "k", symmetric=True)
    assert len(calls) == 4 + 3
    assert len(set(calls)) == 6
    np.testing.assert_allclose(kernel[:], WHOLE, rtol=1e-13)
    fill_blocks(compute, (23, 23), (10, 10), out=tmp_path / "k", symmetric=True)
    assert len(calls) == 7


def test_on_workers_of_which_one_dies(tmp_path):
    mortal = lab_cells.MortalKernel(KERNEL.x, str(tmp_path / "died"))
    with Workers(2) as executor:
        in_store = fill_blocks(mortal, (23, 23), (8, 8), executor=executor, out=tmp_path / "k")
        in_memory = fill_blocks(KERNEL, (23, 23), (8, 8), executor=executor)
    assert (tmp_path / "died").exists()
    np.testing.assert_array_equal(in_store[:], in_memory)


def test_refusals(tmp_path):
    fill_blocks(KERNEL, (23, 23), (8, 8), out=tmp_path / "k", spec={"depth": 3})
    with pytest.raises(StoreError, match="depth: 3 in the store, 4 asked for"):
        fill_blocks(KERNEL, (23, 23), (8, 8), out=tmp_path / "k", spec={"depth": 4})
    with pytest.raises(StoreError, match="grid.blocks"):
        fill_blocks(KERNEL, (23, 23), (9, 9), out=tmp_path / "k", spec={"depth": 3})
    open_storage(tmp_path / "other").write("thesis.tex", b"")
    with pytest.raises(StoreError, match="thesis.tex"):
        fill_blocks(KERNEL, (23, 23), (8, 8), out=tmp_path / "other")
    for shape, blocks, symmetric in (((4, 4), (0, 1), False), ((4,), (2, 2), False), ((4, 5), (2, 2), True), ((4, 4), (), False)):
        with pytest.raises(ArgumentError):
            fill_blocks(KERNEL, shape, blocks, symmetric=symmetric)
    with pytest.raises(ArgumentError, match="block of shape"):
        fill_blocks(lambda i, j: np.zeros((1, 1)), (4, 4), (2, 2))


def test_several_arrays_and_swapped_axes(tmp_path):
    x = np.random.default_rng(1).normal(size=(7, 3))

    def compute(rows, columns):
        block = np.einsum("ia,jb->ijab", rows, columns)
        return block, 2 * block

    grid = Grid((7, 7, 3, 3), (3, 3), symmetric=True, names=("one", "two"), swapped=((2, 3),))
    whole = np.einsum("ia,jb->ijab", x, x)
    for out in (None, tmp_path / "folder", zarr.open_group(str(tmp_path / "group"), mode="w")):
        one, two = fill_grid(compute, grid, arguments=lambda i, j: (x[i], x[j]), out=out)
        np.testing.assert_array_equal(one[:], whole)
        np.testing.assert_array_equal(two[:], 2 * whole)
    np.testing.assert_array_equal(zarr.open_group(str(tmp_path / "folder"), mode="r")["two"][:], 2 * whole)
    with pytest.raises(ArgumentError, match="one block per name"):
        fill_grid(lambda i, j: compute(i, j)[0], grid, arguments=lambda i, j: (x[i], x[j]))
    with pytest.raises(ArgumentError, match="zarr group on disk"):
        fill_grid(compute, grid, arguments=lambda i, j: (x[i], x[j]), out=zarr.open_group(zarr.storage.MemoryStore()))


def test_what_is_no_executor_is_named():
    with pytest.raises(ArgumentError, match="executor must be"):
        fill_blocks(lambda rows, columns: np.zeros((2, 2)), (4, 4), (2, 2), executor="dask")
