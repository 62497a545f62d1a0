"""What a lens can show: the names that a quantity may ask for, with their shapes.

A quantity's positional parameters are its needs, filled by name from a `theodolite.Lens` as pytest fills fixtures. The list is
here, below both sides, so that a quantity can be checked when it is registered and a lens when it is built.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from theodolite.core.errors import UnknownNameError, nearest

__all__ = ["NEEDS", "Need", "check_needs"]

Level = Literal["layer", "network"]


@dataclass(frozen=True)
class Need:
    """One thing that a lens can show.

    Attributes:
        name: as it appears in a quantity's signature.
        level: ``layer`` (one per observed layer) or ``network`` (one per model).
        shape: the shape in words; leading ensemble dimensions may precede it.
        about: what it is.
        array: whether it is a plain tensor, so that the leading-dimension law applies.
    """

    name: str
    level: Level
    shape: str
    about: str
    array: bool = True


NEEDS: dict[str, Need] = {
    need.name: need
    for need in (
        Need("features", "layer", "(N, n)", "post-activation outputs; positions of conv and sequence layers are samples"),
        Need("preactivations", "layer", "(N, n)", "what the layer's activation was applied to, same order as features"),
        Need("patterns", "layer", "(N, n)", "preactivations > 0, as booleans"),
        Need("weights", "layer", "(n, fan_in [+ 1])", "incoming weights, one row per neuron, its bias as last column"),
        Need("initial_weights", "layer", "(n, fan_in [+ 1])", "the same at the start of tracking"),
        Need("outgoing", "layer", "(K, n)", "weights by which the next affine layer reads the features"),
        Need(
            "reading",
            "layer",
            "(K, n)",
            "size of the weights by which each next neuron reads the features, all positions together",
        ),
        Need("amplitudes", "layer", "(n,)", "‖outgoing column‖ · ‖incoming row‖ per neuron"),
        Need("sample_weights", "network", "(N,)", "weight of each sample in integrals (1/N unless given)"),
        Need("outputs", "network", "(N, K)", "the model's outputs, flattened to one row per sample"),
        Need("targets", "network", "(N, K)", "the targets; class labels as one-hot rows"),
        Need("input_jacobian", "network", "(N, K, d)", "∂ outputs / ∂ inputs, both flattened"),
        Need("jacobian", "network", "(N, K, P)", "∂ outputs / ∂ trainable parameters"),
        Need("tangent_kernel", "network", "(N, N, K, K)", "empirical neural tangent kernel"),
        Need("initial_tangent_kernel", "network", "(N, N, K, K)", "the same at the start of tracking"),
        Need("parameters", "network", "(P,)", "all trainable parameters, flattened and joined"),
        Need("initial_parameters", "network", "(P,)", "the same at the start of tracking"),
        Need("gradients", "network", "name -> tensor", "∂ loss / ∂ parameter", array=False),
        Need("hvp", "network", "(P,) -> (P,)", "product of the loss's Hessian with a vector", array=False),
        Need("model", "network", "nn.Module", "the module; a view of it that returns one tensor", array=False),
        Need("inputs", "network", "(N, …)", "the inputs as given", array=False),
        Need("labels", "network", "(N, …)", "the targets as given", array=False),
        Need("loss", "network", "callable", "loss(outputs, targets), as given", array=False),
        Need("architecture", "network", "Architecture", "widths, activation, σ_w², σ_b² read off the tensors", array=False),
    )
}


def check_needs(names: Iterable[str], asker: str) -> None:
    """Raise `UnknownNameError` listing what a lens can show when one of ``names`` is not among it."""
    for name in names:
        if name not in NEEDS:
            near = nearest(name, NEEDS)
            hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
            raise UnknownNameError(f"{asker} needs {name!r}, which a lens cannot show; {hint}a lens can show: {', '.join(NEEDS)}")
