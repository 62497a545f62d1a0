"""The exact linear regions of a small editable network of two inputs, and its three-layer form."""

from __future__ import annotations

from typing import Any

import numpy as np

from theodolite.report.explorer.parameters import Choice, Edits, Field, Whole, Wholes
from theodolite.report.explorer.payload import rounded

__all__ = ["NETWORK", "network"]

#: Weights and biases of the largest network, 2 → 8 → 8 → 8 → 1.
PLACES = 3 * 8 + 2 * 9 * 8 + 9
NETWORK: dict[str, Field] = {
    "hidden": Wholes(1, 8, 1, 3, (6, 6)),
    "seed": Whole(0, 9999, 57),
    "recipe": Choice(("gaussian", "dyadic"), "gaussian"),
    "edits": Edits(PLACES, 10.0),
}

#: Points at which deep and shallow network are compared in floating point.
CHECKS = 400


def network(hidden: tuple[int, ...], seed: int, recipe: str, edits: tuple[tuple[int, float], ...]) -> dict[str, Any]:
    """Regions on [−1, 1]² with affine maps and half-spaces, and the equal three-layer network.

    Args:
        hidden: neurons per hidden layer.
        seed: of the weights.
        recipe: how they are drawn: Gaussian, or sixteenths (for which degenerate positions occur).
        edits: (place, value): replaced weights; places count weights row by row, then biases, layer by layer.
    """
    import torch

    from theodolite.theory import piecewise
    from theodolite.theory.piecewise import serra2018_upper

    model = _drawn((2, *hidden, 1), seed, recipe, edits)
    found = piecewise.regions(model, piecewise.box(-1, 1, dim=2), certify="exact")
    shallow = piecewise.to_shallow(found, certify="exact")
    slopes, constants = found.affine
    boundary = found.decision_boundary()
    points = torch.rand(CHECKS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        gap = float((model(points) - shallow(points)).abs().max())
    certificate = shallow.certificate
    assert certificate is not None
    return {
        "widths": (2, *hidden, 1),
        "layers": _layers(model),
        "count": found.count,
        "pieces": found.pieces,
        "bound": serra2018_upper(list(hidden), 2),
        "regions": [
            {
                "vertices": rounded(vertices, 7),
                "slope": rounded(slopes[i, 0], 6),
                "constant": float(rounded(constants[i, 0], 6)),
                "pattern": "".join("1" if on else "0" for on in found.patterns[i]),
                "half_spaces": _half_spaces(found, i),
                "area": float(rounded(found.volumes[i], 6)),
            }
            for i, vertices in enumerate(found.vertices)
        ],
        "boundary": rounded(boundary, 6),
        "minimum": float(np.ravel(found.minimum()[0])[0]),
        "maximum": float(np.ravel(found.maximum()[0])[0]),
        "lipschitz": float(found.lipschitz()),
        "shallow": {
            "widths": shallow.widths,
            "parameters": shallow.parameters_dense,
            "entries": shallow.entries,
            "proved": bool(certificate),
            "vertices": certificate.vertices,
            "gap": gap,
            "checks": CHECKS,
        },
        "python": _code(model),
    }


def _drawn(widths: tuple[int, ...], seed: int, recipe: str, edits: tuple[tuple[int, float], ...]) -> Any:
    """The random network with its edits.

    Raises:
        ArgumentError: an edit of a place that the network does not have.
    """
    import torch

    from theodolite.core.errors import ArgumentError
    from theodolite.theory.piecewise.experiments.networks import random_chain

    model = random_chain(widths, seed, recipe=recipe)
    if recipe == "gaussian":
        # Two decimals: what the page shows is then the network itself, and can be copied.
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.from_numpy(np.round(p.numpy(), 2)))
    flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    if edits and edits[-1][0] >= len(flat):
        raise ArgumentError(f"edits must name places below {len(flat)}, the number of weights of {widths}, got {edits[-1][0]}")
    for place, value in edits:
        flat[place] = value
    torch.nn.utils.vector_to_parameters(flat, model.parameters())
    return model


def _layers(model: Any) -> list[dict[str, Any]]:
    """Weights and biases of each layer, in the order in which places count."""
    out, place = [], 0
    for module in model:
        if hasattr(module, "weight"):
            rows, columns = module.weight.shape
            out.append({"weight": module.weight.detach().numpy(), "bias": module.bias.detach().numpy(), "place": place})
            place += rows * columns + rows
    return out


def _half_spaces(found: Any, i: int) -> dict[str, Any]:
    normals, constants = found.halfspaces(i)
    return {"normal": rounded(normals, 6), "constant": rounded(constants, 6)}


def _code(model: Any) -> str:
    linear = [m for m in model if hasattr(m, "weight")]
    lines = ["import torch", "from torch import nn", "", "import theodolite as td", "", "layers = []"]
    for k, module in enumerate(linear):
        weight, bias = (np.round(p.detach().numpy(), 6).tolist() for p in (module.weight, module.bias))
        lines += [
            f"layers.append(nn.Linear({module.in_features}, {module.out_features}, dtype=torch.float64))",
            f"layers[-1].weight.data = torch.tensor({weight}, dtype=torch.float64)",
            f"layers[-1].bias.data = torch.tensor({bias}, dtype=torch.float64)",
        ]
        if k + 1 < len(linear):
            lines.append("layers.append(nn.ReLU())")
    lines += [
        "model = nn.Sequential(*layers)",
        'found = td.piecewise.regions(model, td.box(-1, 1, dim=2), certify="exact")',
        "print(found, found.maximum())",
        'shallow = td.piecewise.to_shallow(found, certify="exact")',
        "print(shallow.widths, shallow.certificate)",
        'found.plot().figure.savefig("regions.pdf")',
    ]
    return "\n".join(lines) + "\n"
