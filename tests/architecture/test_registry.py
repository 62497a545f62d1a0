"""Contracts over the whole registry: documentation, references, pairs, leading dimensions, names."""

import inspect

import pytest
import torch

from theodolite.core.errors import TheodoliteError
from theodolite.core.measurement import Measurement
from theodolite.core.needs import NEEDS
from theodolite.core.reference import references
from theodolite.core.registry import claims, experiments, quantities, sibling, topics

QUANTITIES = list(quantities().values())
EXPERIMENTS = list(experiments().values())
CLAIMS = claims()


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda q: q.name)
class TestQuantities:
    def test_it_is_documented_with_an_example(self, quantity):
        text = inspect.getdoc(quantity.function)
        assert text
        for section in ("Args:", "Returns:", "Example:"):
            assert section in text, f"{quantity.name} lacks {section}"

    def test_its_paper_is_in_the_bibliography(self, quantity):
        assert quantity.reference.split()[0] in references()

    def test_its_symbol_and_topic(self, quantity):
        assert quantity.symbol
        assert quantity.topic in topics()

    def test_leading_dimensions(self, quantity):
        """fn(stack) == stack(fn) for quantities of plain tensors that give one number per network."""
        if not all(NEEDS[need].array for need in quantity.needs):
            pytest.skip("it needs more than plain tensors")
        one, two = (example(quantity, seed) for seed in (0, 1))
        try:
            separate = [quantity.function(**arguments) for arguments in (one, two)]
        except TheodoliteError as error:
            pytest.skip(f"random tensors do not suit it: {error}")
        if any(not isinstance(value, torch.Tensor) for value in separate):
            pytest.skip("it returns a structured result")
        both = {k: v if v is None else torch.stack([one[k], two[k]]) for k, v in one.items()}
        torch.testing.assert_close(quantity.function(**both), torch.stack(separate), rtol=1e-9, atol=1e-12)


def example(quantity, seed):
    """Random float64 tensors for the needs of a quantity, of shapes that fit together."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    samples, n, fan_in, outputs, parameters = 12, 5, 3, 2, 20
    jacobian = draw(samples, outputs, parameters)
    tensors = {
        "features": draw(samples, n),
        "preactivations": draw(samples, n),
        "weights": draw(n, fan_in),
        "initial_weights": draw(n, fan_in),
        "outgoing": draw(outputs, n),
        "reading": draw(outputs, n).abs(),
        "amplitudes": draw(n).abs(),
        "sample_weights": torch.full((samples,), 1 / samples, dtype=torch.float64),
        "outputs": draw(samples, outputs),
        "targets": draw(samples, outputs),
        "input_jacobian": draw(samples, outputs, 4),
        "jacobian": jacobian,
        "tangent_kernel": torch.einsum("akp,blp->abkl", jacobian, jacobian),
        "parameters": draw(parameters),
        "initial_parameters": draw(parameters),
    }
    other = draw(samples, outputs, parameters)
    tensors["initial_tangent_kernel"] = torch.einsum("akp,blp->abkl", other, other)
    tensors["patterns"] = tensors["preactivations"] > 0
    return {parameter: tensors[need] for parameter, need in quantity.fill.items()}


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
class TestExperiments:
    def test_it_is_documented(self, experiment):
        text = inspect.getdoc(experiment)
        assert text
        assert "Attributes:" in text

    def test_it_has_a_figure_claims_and_a_paper(self, experiment):
        figure = getattr(sibling(experiment.__module__, "figures"), experiment.name.partition(".")[2], None)
        assert callable(figure), f"{experiment.name} has no figure"
        assert any(claim.experiment == experiment.name for claim in CLAIMS), f"{experiment.name} has no claim"
        assert experiment.reference.split()[0] in references()

    def test_its_small_scale_changes_only_settings_that_exist(self, experiment):
        assert experiment.with_settings("small").settings.keys() == experiment().settings.keys()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.name)
def test_claims_are_about_experiments_that_exist_and_papers_that_are_listed(claim):
    assert claim.experiment in {e.name for e in EXPERIMENTS}
    assert claim.reference.split()[0] in references()
    assert claim.statement.strip()


def test_references_are_complete():
    for key, reference in references().items():
        assert {"author", "title", "year"} <= set(reference.fields), f"{key} lacks a field"


def test_a_measurement_without_value_has_a_reason():
    assert Measurement(None, reason="x").reason
