"""The lens: one cached look at a model, its data and its loss, from which every quantity takes what it needs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from theodolite.core.errors import ArgumentError, TheodoliteError, UnsupportedError, unknown
from theodolite.core.needs import NEEDS
from theodolite.lens import inputs
from theodolite.lens.architecture import Architecture, read_architecture
from theodolite.lens.frozen import frozen
from theodolite.lens.graph import Graph, tensors_in, trace
from theodolite.lens.layers import Layer, choose_layers, outgoing_matrix, sample_matrix
from theodolite.lens.replay import replay
from theodolite.lens.role import Role, role_of

__all__ = ["Lens"]


class FirstTensor(nn.Module):
    """A view of a model that returns a structure: the first tensor among its outputs, such as the logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The first tensor that the model returns.

        Raises:
            UnsupportedError: there is none.
        """
        for tensor in tensors_in(self.model(*args, **kwargs)):
            return tensor
        raise UnsupportedError("the model returned no tensor")


class Lens:
    """A cached look at a model on some data. Every look runs in eval mode and leaves the model exactly as it was found.

    Args:
        model: any `torch.nn.Module`.
        x: a tensor or array; a tuple (called as ``model(*x)``); a dict (``model(**x)`` if its keys are parameters of forward, else
            ``model(x)``); or a DataLoader of inputs or of pairs (x, y).
        y: targets: floats for regression, integers for classes; None if the quantities need none.
        loss: ``loss(outputs, targets)``; by default mean squared error for float targets and cross-entropy for integer ones.
        layers: glob or globs over the names of operations and modules (``"block.*"``); by default the post-activation outputs.
        sample_weights: weight of each sample in integrals, (N,); by default 1/N.
        initial: the lens of the same model before training, for ``initial_…`` needs.

    Raises:
        ArgumentError: data that cannot be used (empty, not finite, on another device).
        ModelError: the model raised; the message says with what it was called.
        UnknownNameError: ``layers`` matches nothing.
        UnsupportedError: there is no hidden layer to observe.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        >>> lens = Lens(net, torch.randn(32, 2))
        >>> lens.layers, lens.features["1"].shape
        (('1',), torch.Size([32, 8]))
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        model: nn.Module,
        x: Any,
        y: Any = None,
        loss: Callable[[Any, Any], torch.Tensor] | None = None,
        *,
        layers: str | Sequence[str] | None = None,
        sample_weights: Any = None,
        initial: Lens | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        self.model = model
        self.loss = loss
        self.initial = initial
        self._sample_weights = sample_weights
        self._shown: dict[tuple[str, str | None], Any] = {}
        with torch.random.fork_rng(devices=[]):  # a DataLoader draws from the global generator, even without shuffling
            self.calls = list(inputs.batches(model, x, y))
        if not self.calls:
            raise ArgumentError("x must hold at least one batch, got an empty loader")
        with frozen(model):
            self.graph = self._trace(self.calls[0])
            self._layers = {layer.name: layer for layer in choose_layers(self.graph, layers)}
            self._look()

    # -- the one forward pass ------------------------------------------------------------------------------------------

    def _trace(self, call: inputs.Call) -> Graph:
        try:
            return trace(self.model, *call.args, **call.kwargs)
        except TheodoliteError:
            raise
        except Exception as error:
            raise inputs.model_error(error, call) from error

    def _look(self) -> None:
        """Features and preactivations of every layer, and the outputs, batch by batch."""
        layers = self._layers.values()
        refs = [layer.features for layer in layers] + [la.preactivations for la in layers if la.preactivations is not None]
        refs += self.graph.outputs[:1]
        seen = [replay(self.model, self.graph, call, refs) for call in self.calls]
        features, before = {}, {}
        for name, layer in self._layers.items():
            features[name] = torch.cat([sample_matrix(values[layer.features], layer.channel_axis) for values in seen])
            if layer.preactivations is not None:
                parts = [sample_matrix(values[layer.preactivations], layer.channel_axis) for values in seen]
                before[name] = torch.cat(parts)
        #: Layer -> (samples, neurons); positions of convolutions and sequences are samples.
        self.features: Mapping[str, torch.Tensor] = features
        #: The same before the activation.
        self.preactivations: Mapping[str, torch.Tensor] = before
        self._outputs = None
        if self.graph.outputs:
            first = self.graph.outputs[0]
            self._outputs = torch.cat([v[first].reshape(call.size, -1) for v, call in zip(seen, self.calls, strict=True)])

    @torch.inference_mode(False)
    def again(self, initial: Lens | None = None) -> Lens:
        """A fresh look at the model as it is now, on the same data; cheaper than a new lens, since the graph is known.

        Args:
            initial: the lens of the model before training, for ``initial_…`` needs.
        """
        fresh = copy.copy(self)
        fresh.initial = initial if initial is not None else self.initial
        fresh._shown = {}
        fresh.__dict__.pop("architecture", None)
        with frozen(self.model):
            fresh._look()
        return fresh

    # -- what a lens shows ----------------------------------------------------------------------------------------------

    @torch.inference_mode(False)
    def show(self, need: str, layer: str | None = None) -> Any:
        """The value of a need (see `theodolite.core.needs.NEEDS`), of one layer where it is per layer.

        Raises:
            UnknownNameError: no such need or layer.
            UnsupportedError: this model or data cannot show it, with the reason.
        """
        if need not in NEEDS:
            raise unknown("need", need, NEEDS)
        if layer is not None and layer not in self._layers:
            raise unknown("layer", layer, self._layers)
        if NEEDS[need].level == "layer" and layer is None:
            raise ArgumentError(f"the need {need!r} is per layer; name one of: {', '.join(self._layers)}")
        key = (need, layer if NEEDS[need].level == "layer" or need == "sample_weights" else None)
        if key not in self._shown:
            if need.startswith("initial_"):
                self._shown[key] = self._initial(need, layer)
            else:
                self._shown[key] = getattr(self, f"_show_{need}")(*([] if key[1] is None else [layer]))
        return self._shown[key]

    def _initial(self, need: str, layer: str | None) -> Any:
        if self.initial is None:
            raise UnsupportedError(f"{need!r} needs the model before training; track the training loop, or pass initial=")
        return self.initial.show(need.removeprefix("initial_"), layer)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(call.size for call in self.calls)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the observed layers, in execution order."""
        return tuple(self._layers)

    def layer(self, name: str) -> Layer:
        """Where a layer stands in the graph."""
        if name not in self._layers:
            raise unknown("layer", name, self._layers)
        return self._layers[name]

    def role(self, name: str) -> Role:
        """What writes a layer and what reads it."""
        layer = self.layer(name)
        return role_of(self.model, self.graph, layer, self.features[name].shape[0] // self.samples)

    @cached_property
    def architecture(self) -> Architecture:
        """Widths, activations, σ_w² and σ_b² of the affine layers, read off the tensors."""
        return read_architecture(self.graph)

    @property
    def patterns(self) -> Mapping[str, torch.Tensor]:
        """Layer -> (N, n) booleans: preactivation > 0."""
        return {name: value > 0 for name, value in self.preactivations.items()}

    @property
    def outputs(self) -> torch.Tensor:
        """The model's first output as (N, K)."""
        if self._outputs is None:
            raise UnsupportedError("the model returned no tensor that depends on its inputs")
        return self._outputs

    @property
    def gradients(self) -> Mapping[str, torch.Tensor]:
        """Parameter name -> gradient of the loss over all batches, weighted by their sizes."""
        return self.show("gradients")

    @property
    def jacobian(self) -> torch.Tensor:
        """∂ outputs / ∂ trainable parameters, (N, K, P)."""
        return self.show("jacobian")

    @property
    def tangent_kernel(self) -> torch.Tensor:
        """Empirical neural tangent kernel, (N, N, K, K), float64."""
        return self.show("tangent_kernel")

    @property
    def hvp(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The loss's Hessian-vector product."""
        return self.show("hvp")

    # -- one method per need ----------------------------------------------------------------------------------------------

    def _show_features(self, layer: str) -> torch.Tensor:
        return self.features[layer]

    def _show_preactivations(self, layer: str) -> torch.Tensor:
        if layer not in self.preactivations:
            raise UnsupportedError(f"layer {layer!r} is not an activation, so it has no preactivations")
        return self.preactivations[layer]

    def _show_patterns(self, layer: str) -> torch.Tensor:
        return self._show_preactivations(layer) > 0

    def _show_weights(self, layer: str) -> torch.Tensor:
        index = self._layers[layer].incoming
        if index is None:
            raise UnsupportedError(f"layer {layer!r} is not fed by one affine operation, so it has no incoming weights")
        node = self.graph[index]
        flat = node.rows.detach().flatten(1)
        bias = node.bias
        return (flat if bias is None else torch.cat([flat, bias.detach()[:, None]], 1)).clone()

    def _show_outgoing(self, layer: str) -> torch.Tensor:
        index = self._layers[layer].outgoing
        if index is None:
            raise UnsupportedError(f"layer {layer!r} is not read by one affine operation, so it has no outgoing weights")
        return outgoing_matrix(self.graph[index].rows.detach(), self.features[layer].shape[1]).clone()

    def _show_reading(self, layer: str) -> torch.Tensor:
        outgoing = self._show_outgoing(layer)
        reader = self.architecture.at(self._layers[layer].outgoing)
        assert reader is not None
        # Rows of ``outgoing`` are (neuron, position), neurons varying slowest.
        return outgoing.reshape(reader.width, -1, outgoing.shape[1]).norm(dim=1)

    def _show_amplitudes(self, layer: str) -> torch.Tensor:
        return self._show_outgoing(layer).norm(dim=0) * self._show_weights(layer).norm(dim=1)

    def _show_sample_weights(self, layer: str | None = None) -> torch.Tensor | None:
        if self._sample_weights is None:
            return None
        samples = self.samples
        w = torch.as_tensor(self._sample_weights, dtype=torch.float64, device=self.outputs.device)
        if w.shape != (samples,):
            raise ArgumentError(f"sample_weights must have shape ({samples},), got {tuple(w.shape)}")
        if layer is None:
            return w
        positions = self.features[layer].shape[0] // samples
        return w if positions == 1 else w.repeat_interleave(positions) / positions

    def _show_outputs(self) -> torch.Tensor:
        return self.outputs

    def _show_labels(self) -> Any:
        parts = [call.y for call in self.calls]
        if any(part is None for part in parts):
            raise UnsupportedError("this needs targets; pass y, or a loader of pairs (x, y)")
        return torch.cat(parts) if isinstance(parts[0], torch.Tensor) else parts[0]

    def _show_targets(self) -> torch.Tensor:
        y = self._show_labels()
        if not isinstance(y, torch.Tensor):
            raise UnsupportedError(f"targets must be a tensor, got {type(y).__name__}")
        if not y.is_floating_point() and y.ndim == 1:
            classes = self.outputs.shape[1]
            if int(y.min()) < 0 or int(y.max()) >= classes:
                raise ArgumentError(
                    f"class labels in y must lie in 0..{classes - 1}, the model's outputs, got {int(y.min())}..{int(y.max())}"
                )
            return torch.nn.functional.one_hot(y.long(), classes).to(self.outputs)
        flat = y.reshape(len(y), -1).to(self.outputs)
        if flat.shape != self.outputs.shape:
            raise ArgumentError(f"y must match the outputs, of shape {tuple(self.outputs.shape)}, got {tuple(flat.shape)}")
        return flat

    def _show_loss(self) -> Callable[[Any, Any], torch.Tensor]:
        if self.loss is not None:
            return self.loss
        from theodolite.lens.derivatives import default_loss

        self._show_labels()
        return default_loss

    def _show_model(self) -> nn.Module:
        return self._single

    @cached_property
    def _single(self) -> nn.Module:
        """The model, or where it returns a structure, a view of it that returns the first tensor in it."""
        with frozen(self.model), torch.no_grad():
            returned = inputs.run(self.model, self.calls[0])
        return self.model if isinstance(returned, torch.Tensor) else FirstTensor(self.model)

    def _show_inputs(self) -> Any:
        if len(self.calls) > 1 or len(self.calls[0].args) != 1 or self.calls[0].kwargs:
            parts = [call.args[0] for call in self.calls if len(call.args) == 1 and not call.kwargs]
            if len(parts) != len(self.calls) or not all(isinstance(p, torch.Tensor) for p in parts):
                raise UnsupportedError("this needs a model of one input tensor")
            return torch.cat(parts)
        return self.calls[0].args[0]

    def _show_architecture(self) -> Architecture:
        return self.architecture

    def _show_parameters(self) -> torch.Tensor:
        trainable = [p.detach().reshape(-1) for p in self.model.parameters() if p.requires_grad]
        if not trainable:
            raise UnsupportedError("the model has no trainable parameter")
        return torch.cat(trainable).clone()

    def _show_gradients(self) -> Mapping[str, torch.Tensor]:
        from theodolite.lens.derivatives import loss_gradients

        return loss_gradients(self)

    def _show_hvp(self) -> Callable[[torch.Tensor], torch.Tensor]:
        from theodolite.lens.derivatives import hessian_product

        return hessian_product(self)

    def _show_jacobian(self) -> torch.Tensor:
        from theodolite.lens.derivatives import parameter_jacobian

        return parameter_jacobian(self._single, self._show_inputs())

    def _show_input_jacobian(self) -> torch.Tensor:
        from theodolite.lens.derivatives import input_jacobian

        return input_jacobian(self._single, self._show_inputs())

    def _show_tangent_kernel(self) -> torch.Tensor:
        from theodolite.lens.kernel import tangent_kernel

        return tangent_kernel(self._single, self._show_inputs())

    def __repr__(self) -> str:
        return f"Lens({type(self.model).__name__}, {self.samples} samples, layers {', '.join(self._layers)})"
