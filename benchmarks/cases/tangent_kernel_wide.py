"""Full tangent kernel with one output, MLP 784-1024³-1, against Jacobian contraction and other implementations."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from theodolite.theory.tangent import ntk

TITLE = "NTK of an MLP 784-1024³-1, N = 500, float64"
TOLERANCE = 1e-9


def mlp(width: int, outputs: int) -> nn.Sequential:
    """784-w-w-w-K with ReLU, in float64."""
    torch.manual_seed(0)
    sizes = (784, width, width, width, outputs)
    layers: list[nn.Module] = []
    for i, o in itertools.pairwise(sizes):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


def theodolite_kernel(model: nn.Module, x: torch.Tensor) -> np.ndarray:
    """(N, N, K, K)."""
    return ntk(model, x).numpy()


def jacobian_contraction(model: nn.Module, x: torch.Tensor) -> np.ndarray:
    """The method of torch's tutorial: per-sample Jacobians by jacrev and vmap, contracted by einsum, one parameter at a time."""
    from torch.func import functional_call, jacrev, vmap

    parameters = {n: p.detach() for n, p in model.named_parameters()}
    total = torch.zeros(())
    for name, value in parameters.items():

        def single(v: torch.Tensor, sample: torch.Tensor, name: str = name) -> torch.Tensor:
            return functional_call(model, {**parameters, name: v}, (sample.unsqueeze(0),)).squeeze(0)

        flat = vmap(jacrev(single), (None, 0))(value, x).flatten(2)  # (N, K, P of this parameter)
        total = total + torch.einsum("naf,mbf->nmab", flat, flat)
    return total.numpy()


def nngeometry_kernel(model: nn.Module, x: torch.Tensor, outputs: int) -> np.ndarray:
    """nngeometry's dense Gram matrix; raises where it is not installed."""
    from nngeometry.generator import Jacobian
    from nngeometry.layercollection import LayerCollection
    from nngeometry.object import FMatDense
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(x, torch.zeros(len(x))), batch_size=len(x))
    generator = Jacobian(model=model, function=lambda *d: model(d[0]), n_output=outputs)
    gram = FMatDense(LayerCollection.from_model(model), generator, loader).get_dense_tensor()
    return gram.permute(1, 3, 0, 2).numpy()


def contenders(quick: bool = False) -> dict[str, Callable[[], np.ndarray]]:
    """Ours, torch.func's Jacobian contraction, nngeometry, neural-tangents."""
    model = mlp(256 if quick else 1024, 1)
    x = torch.randn(50 if quick else 500, 784, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def neural_tangents() -> np.ndarray:
        import neural_tangents as nt  # the JAX implementation with structured derivatives; needs an old jax

        parameters = [p.detach().numpy() for p in model.parameters()]

        def apply(values: list, inputs: np.ndarray) -> np.ndarray:
            import jax

            h = inputs
            for k in range(0, len(values), 2):
                h = h @ values[k].T + values[k + 1]
                h = jax.numpy.maximum(h, 0) if k + 2 < len(values) else h
            return h

        kernel = nt.empirical_ntk_fn(apply, trace_axes=(), implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES)
        return np.asarray(kernel(x.numpy(), None, parameters))

    return {
        "theodolite": lambda: theodolite_kernel(model, x),
        "torch.func Jacobian contraction": lambda: jacobian_contraction(model, x),
        "nngeometry": lambda: nngeometry_kernel(model, x, 1),
        "neural-tangents": neural_tangents,
    }
