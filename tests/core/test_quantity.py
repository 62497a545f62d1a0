"""Registration: needs by parameter name, options by keyword, resolution and verdicts."""

import numpy as np
import pytest
import torch

from theodolite.core.errors import UnknownNameError
from theodolite.core.measurement import Measurement
from theodolite.core.quantity import QUANTITIES, quantity, topic_of


@pytest.fixture(autouse=True)
def _keep_registry():
    before = dict(QUANTITIES)
    yield
    QUANTITIES.clear()
    QUANTITIES.update(before)


def test_needs_are_the_positional_parameters_without_default():
    @quantity(symbol="s", reference="roy2007", fill={"weights": "sample_weights"})
    def mine(features, weights=None, *, power=2):
        """Mine."""
        return (features**power).sum((-2, -1))

    registered = QUANTITIES[f"{topic_of(__name__)}.mine"]
    assert registered.needs == ("features", "sample_weights")
    assert dict(registered.options) == {"power": 2}
    assert registered.level == "layer"
    assert mine(np.ones((2, 3))) == 6.0
    assert registered.value({"features": torch.ones(2, 3), "sample_weights": None}.get, power=1) == 6.0


def test_an_unknown_need_lists_what_a_lens_can_show():
    with pytest.raises(
        UnknownNameError, match=r"'feature', which a lens cannot show; did you mean 'features'\? a lens can show: "
    ):

        @quantity(symbol="s", reference="roy2007")
        def wrong(feature):
            return feature


def test_an_unknown_option_is_refused():
    @quantity(symbol="s", reference="roy2007")
    def mine(features, *, eps=1.0):
        return features.sum()

    with pytest.raises(UnknownNameError, match="did you mean 'eps'"):
        QUANTITIES[f"{topic_of(__name__)}.mine"].value(lambda need: torch.ones(1, 1), esp=2.0)


def test_an_interval_becomes_the_resolution():
    @quantity(symbol="s", reference="roy2007", interval=lambda features: (1.0, 3.0))
    def mine(features):
        return torch.tensor(2.0)

    found = QUANTITIES[f"{topic_of(__name__)}.mine"].measure(lambda need: torch.ones(1, 1))
    assert (float(found.value), found.low, found.high) == (2.0, 1.0, 3.0)


def test_a_censored_measurement_prints_as_a_bound():
    assert str(Measurement(5.0, low=5.0, censored=True, reason="noise")) == "≥ 5 (noise)"
    assert str(Measurement(None, reason="no data")) == "— (no data)"
    assert str(Measurement(2.0, 1.0, 3.0)) == "2 [1, 3]"
