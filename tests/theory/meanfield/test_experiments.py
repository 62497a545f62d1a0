import pytest

from theodolite.core.registry import claims
from theodolite.theory.meanfield import experiments

FAST = {
    "PhaseDiagram": {"points": (10, 8), "width": 150, "depth": 15, "probes": ((1.0, 0.1), (3.0, 0.1))},
    "CorrelationFlow": {"depth": 40, "width": 100, "seeds": 2},
    "GradientFlow": {"depth": 25, "width": 120, "seeds": 2},
    "JacobianSpectrum": {"nets": (("tanh", 0.1), ("relu", 1.0), ("hardtanh", 0.1)), "widths": (60,), "depths": (3, 6), "seeds": 1, "points": 25},
    "Trainability": {"sigma_w2": (1.0, 1.76), "depths": (3, 6), "width": 16, "steps": 10},
    "CriticalInit": {"depth": 12, "width": 16, "steps": 5},
    "DeltaOrthogonal": {"depth": 20, "channels": 4, "images": 6, "steps": 2, "looks": 5},
    "DynamicalIsometryTraining": {"depth": 6, "width": 16, "steps": 8, "seeds": 1},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAST))
def test_experiment_runs_verifies_and_draws(name):
    cls = getattr(experiments, name)
    record = cls.with_settings("small", **FAST[name]).run()
    verification = record.verify()
    assert len(verification) == len(claims(cls.name)) > 0
    assert not any("could not be carried out" in verdict.evidence for _, verdict in verification)
    assert record.figure() is not None


def test_wrong_statements_of_the_sources_fail():
    settings = {**FAST["JacobianSpectrum"], "nets": (("tanh", 0.8), ("relu", 1.0), ("hardtanh", 0.1)), "depths": (4, 16)}
    record = experiments.JacobianSpectrum.with_settings("small", **settings).run()
    words = {claim.name.rpartition(".")[2]: verdict.word for claim, verdict in record.verify()}
    assert words["spectrum_is_a_semicircle"] == "fails"
    assert words["variance_is_one_over_width"] == "fails"
    assert words["relu_never_gives_isometry"] == "holds"
    assert words["hard_tanh_orthogonal_is_closest"] == "holds under"


def test_one_spectrum_has_two_outcomes_so_that_isometry_is_not_sufficient():
    settings = {"depth": 6, "width": 24, "steps": 25, "lr": (0.02, 2.0), "seeds": 1, "q": (0.03, 0.8)}
    record = experiments.DynamicalIsometryTraining.with_settings("small", **settings).run()
    words = {claim.name.rpartition(".")[2]: verdict.word for claim, verdict in record.verify()}
    assert words["isometry_is_sufficient"] == "fails"
