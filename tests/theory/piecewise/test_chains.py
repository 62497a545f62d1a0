"""The compiled walk through a chain of ReLU layers against the enumeration that takes it step by step."""

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.theory.piecewise import enumeration
from theodolite.theory.piecewise.enumeration import Found, Task, advance, enumerate_cells
from theodolite.theory.piecewise.errors import error_bounds
from theodolite.theory.piecewise.lowering import lower


def step_by_step(task):
    stack, done = [task.first()], []
    while stack:
        after = advance(task, stack.pop())
        if isinstance(after, Found):
            done.append(after)
        else:
            stack.extend(reversed(list(after.slices())))
    return Found.join(done)


def by_pattern(found):
    """Corners and maps of every region, by its pattern."""
    corners = np.split(found.cells.points[:, :-1], found.cells.starts[1:-1])
    return {b.tobytes(): (sorted(map(tuple, c)), m) for b, c, m in zip(found.bits, corners, found.maps, strict=True)}


def task_of(model, dim, certify="none"):
    return Task(lower(model, (dim,)), td.box(-1, 1, dim=dim).charts[0], certify)


@pytest.mark.parametrize("certify", ["none", "filtered"])
@pytest.mark.parametrize(
    ("recipe", "widths"),
    [
        ("he", (1, 30, 30, 1)), ("he", (2, 9, 17, 8, 3)), ("he", (2, 40, 1)), ("int", (2, 8, 8, 2)), ("int", (1, 8, 8, 2)),
        ("he", (2, 150, 3, 1)), ("he", (2, 8, 140, 1)), ("he", (3, 6, 6, 1)),
    ],
)  # fmt: skip
def test_same_regions(nets, recipe, widths, certify):
    task = task_of(nets[recipe](widths, 1), widths[0], certify)
    expected, found = by_pattern(step_by_step(task)), by_pattern(Found.join(list(enumerate_cells(task))))
    assert found.keys() == expected.keys()
    for key, (corners, maps) in expected.items():
        assert np.allclose(found[key][0], corners, rtol=0, atol=1e-12)
        assert np.allclose(found[key][1], maps, rtol=0, atol=1e-12)


def test_maps_that_do_not_fit_are_left_to_the_slices(nets, monkeypatch):
    task = task_of(nets["he"]((2, 16, 16, 16, 1), 0), 2)
    expected = by_pattern(step_by_step(task))
    for room in (1, 3000, 10000):
        monkeypatch.setattr(enumeration, "SLICE", room)
        assert by_pattern(Found.join(list(enumerate_cells(task)))).keys() == expected.keys()


class Skips(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.last = (nn.Linear(2, 6), nn.Linear(6, 5), nn.Linear(5, 6), nn.Linear(6, 1))

    def forward(self, x):
        h = self.second(torch.relu(self.first(x)))
        return self.last(torch.relu(self.third(torch.relu(h))) + torch.cat([h, h[:, :1]], dim=1))


def test_only_what_nothing_later_reads_is_carried():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Skips().double()
    task = task_of(model, 2)
    assert task.program.relu_layers[1].tolist() == [2, 6]
    assert by_pattern(Found.join(list(enumerate_cells(task)))).keys() == by_pattern(step_by_step(task)).keys()


def test_bounds_of_the_output_do_not_blur_the_switches(nets):
    """Only switches decide: a large last layer is no reason for anything but their rigorous bounds."""
    model = nets["he"]((2, 8, 8, 1), 0)
    model[-1].weight.data *= 1e6
    task = task_of(model, 2)
    bounds = error_bounds(task.program, task.chart)
    assert bounds[len(task.program.steps)].max() > enumeration.COARSE
    assert all(np.array_equal(task.errors[i], bounds[i]) for i in task.program.nonlinear)
