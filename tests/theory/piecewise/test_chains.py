"""The compiled walk through a chain of ReLU layers against the enumeration that takes it step by step."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import theodolite as td
from theodolite.theory.piecewise import enumeration
from theodolite.theory.piecewise.chainerrors import chain_errors
from theodolite.theory.piecewise.enumeration import Found, Task, advance, enumerate_cells
from theodolite.theory.piecewise.errors import error_bounds, likely_errors
from theodolite.theory.piecewise.exactcells import ExactChart
from theodolite.theory.piecewise.lowering import lower
from theodolite.theory.piecewise.program import Program


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
    assert [a.tolist() for a in task.program.relu_layers[1:]] == [[2, 6], [True]]
    assert by_pattern(Found.join(list(enumerate_cells(task)))).keys() == by_pattern(step_by_step(task)).keys()


def test_bounds_of_the_output_do_not_blur_the_switches(nets):
    """Only switches decide: a large last layer is no reason for anything but their rigorous bounds."""
    model = nets["he"]((2, 8, 8, 1), 0)
    model[-1].weight.data *= 1e6
    task = task_of(model, 2)
    bounds = error_bounds(task.program, task.chart)
    assert bounds[len(task.program.steps)].max() > enumeration.COARSE
    assert all(np.allclose(task.errors[i], bounds[i], rtol=1e-14, atol=0) for i in task.program.nonlinear)


def tents(times):
    """Two layers in a row without a ReLU between them, again and again."""
    inner, outer = nn.Linear(1, 2, dtype=torch.float64), nn.Linear(2, 1, dtype=torch.float64)
    inner.weight.data, inner.bias.data = torch.tensor([[1.0], [1.0]]).double(), torch.tensor([0.0, -0.5]).double()
    outer.weight.data, outer.bias.data = torch.tensor([[2.0, -4.0]]).double(), torch.zeros(1).double()
    return nn.Sequential(*(inner, nn.ReLU(), outer) * times)


@pytest.mark.parametrize(
    ("make", "domain"),
    [
        (lambda nets: nets["he"]((2, 8, 8, 1), 0), td.box(-1, 2, dim=2)),
        (lambda nets: nets["he"]((1, 9, 5, 7, 2), 1), td.box(-3, 2, dim=1)),
        (lambda nets: tents(6), td.box(0, 1, dim=1)),
        (lambda nets: nets["he"]((2, 40, 30, 30, 1), 0), td.polygon([[0.0, 0.0], [1.0, 0.2], [0.5, 1.0]])),
        (lambda nets: nets["he"]((4, 30, 30, 1), 0), td.polyline(np.random.default_rng(0).normal(size=(3, 4)))),
        (lambda nets: nets["he"]((5, 30, 20, 1), 0), td.slice2d(*np.random.default_rng(1).normal(size=(3, 5)))),
        (lambda nets: nets["he"]((3, 40, 40, 40, 1), 0), td.box(-1, 1, dim=3)),
    ],
)
def test_errors_in_compiled_code_are_those_of_the_program(nets, make, domain):
    program = lower(make(nets), domain.input_shape)
    for chart in domain.charts:
        start = chart.vertices, chart.is_box, chart.start
        bounds = error_bounds(program, chart)
        likely = likely_errors(program, chart, bounds)
        for coarse, expected in ((np.inf, bounds), (0.0, likely)):
            found = chain_errors(program.relu_layers, start, chart.cell[0], coarse)
            assert np.allclose(found, np.concatenate([expected[i] for i in program.nonlinear]), rtol=1e-13, atol=0)


def test_layers_in_a_row_are_carried_like_any_other():
    task = Task(lower(tents(5), (1,)), td.box(0, 1, dim=1).charts[0])
    assert task.program.relu_layers[2].tolist() == [True, False] * 5
    begun = task.begin()
    assert isinstance(begun, Found)
    assert by_pattern(begun).keys() == by_pattern(step_by_step(task)).keys()
    assert np.allclose(np.diff(begun.cells.points[:, 0].reshape(-1, 2), axis=1), 1 / 32, rtol=0, atol=1e-15)


def test_the_chain_of_a_module_is_that_of_its_steps(nets):
    """What a plain chain says of its layers, and what is found in the steps, are the same."""
    for model in (nets["he"]((2, 5, 4, 1), 0), tents(3), nn.Sequential(*nets["he"]((2, 5, 4, 3), 0), nn.ReLU())):
        program = lower(model, (model[0].in_features,))
        given, found = program.relu_layers, Program(program.steps, program.input_shape, program.output_shape).relu_layers
        assert all(np.array_equal(a, b) for a, b in zip(given, found, strict=True))


@pytest.mark.parametrize("output", [0, -1, 1])
def test_one_output_stays_in_compiled_code(nets, output):
    model = nets["he"]((2, 9, 7, 3), 0)
    task = Task(lower(model, (2,), output), td.box(-1, 1, dim=2).charts[0])
    assert isinstance(task.begin(), Found)
    x = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = td.piecewise.regions(model, td.box(-1, 1, dim=2), output=output)
    assert np.allclose(found(x.numpy())[:, 0], model(x).detach().numpy()[:, output], atol=1e-12)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("certify", ["none", "filtered"])
def test_the_step_by_step_walk_takes_over_behind_any_layer(nets, monkeypatch, dim, certify):
    """Also behind a layer without a ReLU, whose cells have maps of their own."""
    first, wide, second, widest, last = (nets["he"](w, 1)[0] for w in ((dim, 6), (6, 9), (9, 6), (6, 9), (9, 1)))
    model = nn.Sequential(first, nn.ReLU(), wide, second, nn.ReLU(), widest, last)
    task = Task(lower(model, (dim,)), td.box(-1, 1, dim=dim).charts[0], certify)
    expected, behind = by_pattern(step_by_step(task)), set()
    for room in range(10, 2000, 10):
        monkeypatch.setattr(enumeration, "SLICE", room)
        begun = task.plain().begin()
        behind.add("all" if isinstance(begun, Found) else "layer" if begun.sides is None else "ReLU")
        assert by_pattern(Found.join(list(enumerate_cells(task, begun)))).keys() == expected.keys()
    assert behind == {"all", "layer", "ReLU"}


@pytest.mark.parametrize(("widths", "half"), [((2, 40, 40, 12), 1.0), ((2, 30, 30, 30, 30, 5), 20.0), ((1, 60, 60, 8), 3.0)])
def test_errors_of_maps_are_within_what_is_said_of_them(nets, widths, half):
    """Computed maps against exact ones: |computed − exact| ≤ likely error ≤ bound, and not by luck a thousand times less."""
    domain = td.box(-half, half, dim=widths[0])
    chart, worst = domain.charts[0], 0.0
    for seed in range(3):
        found = td.piecewise.regions(nets["he"](widths, seed), domain)
        program, last = found.program, len(found.program.steps)
        bounds = error_bounds(program, chart)
        likely = likely_errors(program, chart, bounds)
        assert all((likely[i] <= bounds[i]).all() for i in bounds)
        exact, size = ExactChart(program, chart), np.append(chart.reach, 1.0)
        for i in np.random.default_rng(seed).integers(0, found.count, 25):
            array, exponent = exact.maps(found.patterns[i].astype(np.uint8))[last]
            true = np.array([[Fraction(int(x), 1 << exponent) for x in row] for row in array.T], dtype=object)
            computed = np.array([[Fraction(float(x)) for x in row] for row in found.maps[i]], dtype=object)
            error = size @ np.abs(computed - true).astype(float)
            assert (error <= likely[last]).all()
            worst = max(worst, float((error / likely[last]).max()))
    assert worst > 1e-3
