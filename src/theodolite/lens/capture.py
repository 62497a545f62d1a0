"""Recording every use of a parameter in a forward pass, so that its per-sample gradients can be assembled from factors.

`Capture` is a `torch.overrides.TorchFunctionMode`: it sees each torch function a module calls, whatever Python stands around it.
Where a watched parameter enters an operation with a known per-sample gradient, the operation is carried out with the parameter
*detached* and the use is recorded. So a watched parameter that autograd still reaches after the pass was used in some other way as
well, and is known to need the general route: nothing can be missed silently.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from theodolite.core.errors import UnsupportedError
from theodolite.lens.uses import Broadcast, Factored, Lookup, Piece, Use

__all__ = ["Capture"]


class _Tap(torch.autograd.Function):
    """The identity, in place, as a node of the graph: it gives a tensor that needs no gradient an edge to read one from."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, anchor: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(z)
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None


@dataclass(frozen=True)
class Image:
    """A tensor that is ``scale`` times a parameter, possibly transposed, or a block of its rows."""

    tensor: torch.Tensor
    piece: Piece
    scale: float = 1.0
    transposed: bool = False

    @property
    def value(self) -> torch.Tensor:
        """The tensor cut from autograd."""
        return self.tensor.detach()


class Capture(TorchFunctionMode):
    """Records `Use`s of the watched parameters while active.

    Args:
        watched: leaf tensors by name, the very objects that the module reads.
    """

    def __init__(self, watched: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.uses: list[Use] = []
        self._images = {id(t): Image(t, Piece(name)) for name, t in watched.items()}
        self._inputs: list[tuple[torch.Tensor, int]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        handler = _handlers().get(func)
        if handler is not None:
            result = handler(self, func, *args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        return func(*args, **(kwargs or {}))

    def image(self, tensor: Any) -> Image | None:
        """The image that ``tensor`` is, if any."""
        return self._images.get(id(tensor))

    def remember(self, image: Image) -> torch.Tensor:
        """Track a tensor computed from a parameter alone; the image keeps it alive, so its id stays its own."""
        self._images[id(image.tensor)] = image
        return image.tensor

    def tap(self, z: torch.Tensor) -> tuple[torch.Tensor, GradientEdge]:
        """``z`` with an edge at which autograd delivers ∂(outputs)/∂z, even if z is later modified in place."""
        if z._is_view():  # an in-place operation on a view would bypass the view's node
            z = z.clone()
        if not z.requires_grad:
            z = _Tap.apply(z, torch.zeros((), dtype=z.dtype, device=z.device, requires_grad=True))
        return z, get_gradient_edge(z)

    def keep(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` cut from autograd, remembered with its version so that a later change in place is noticed."""
        self._inputs.append((x, x._version))
        return x.detach()

    def check_unmodified(self) -> None:
        """Raise `UnsupportedError` when an input of a recorded use was modified in place after the use."""
        if any(x._version != version for x, version in self._inputs):
            raise UnsupportedError(
                "the model modifies in place a tensor that a parameterised layer has read; such a model cannot be "
                "differentiated with respect to that parameter. Replace the in-place operation (x += y) by x = x + y"
            )

    def affine(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, images: Any) -> torch.Tensor:
        """x Wᵀ + b with the images (of W, of b) recorded."""
        w, b = images
        z, edge = self.tap(F.linear(x, w.value if w else weight, b.value if b else bias))
        leading = z.ndim - 1
        if w:
            inputs = self.keep(x).reshape(-1, 1, 1, x.shape[-1])
            self.uses.append(
                Factored(w.piece, edge, z.shape, leading, w.scale, inputs=inputs, channels_last=True, transposed=w.transposed)
            )
        if b:
            self.uses.append(Broadcast(b.piece, edge, z.shape, leading, b.scale, aligned=(z.shape[-1],)))
        return z

    def shift(
        self, x: torch.Tensor, image: Image, aligned: tuple[int, ...], sign: float = 1.0, x_sign: float = 1.0
    ) -> torch.Tensor:
        """± x ± p with the use of p recorded; p has shape ``aligned`` up to leading ones."""
        z, edge = self.tap(x_sign * x + sign * image.value.reshape(aligned))
        self.uses.append(Broadcast(image.piece, edge, z.shape, z.ndim - len(aligned), sign * image.scale, aligned=aligned))
        return z

    def stretch(self, x: torch.Tensor, image: Image, aligned: tuple[int, ...]) -> torch.Tensor:
        """x · p with the use of p recorded."""
        z, edge = self.tap(x * image.value.reshape(aligned))
        leading = z.ndim - len(aligned)
        self.uses.append(
            Broadcast(image.piece, edge, z.shape, leading, image.scale, aligned=aligned, factor=self.keep(x).expand(z.shape))
        )
        return z


def _linear(capture: Capture, func: Any, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
    images = capture.image(weight), capture.image(bias)
    if not any(images) or weight.ndim != 2 or (images[1] and bias is not None and bias.ndim != 1):
        return NotImplemented
    return capture.affine(input, weight, bias, images)


def _matmul(capture: Capture, func: Any, input: torch.Tensor, other: torch.Tensor) -> Any:
    image = capture.image(other)
    if image is None or other.ndim != 2 or input.ndim < 2 or capture.image(input):
        return NotImplemented
    flipped = Image(image.tensor.mT, image.piece, image.scale, not image.transposed)
    return capture.affine(input, flipped.tensor, None, (flipped, None))


def _addmm(capture: Capture, func: Any, input: torch.Tensor, mat1: torch.Tensor, mat2: torch.Tensor, **scalars: Any) -> Any:
    w, b = capture.image(mat2), capture.image(input)
    if scalars or input.ndim != 1 or not (w or b) or capture.image(mat1):
        return NotImplemented
    flipped = Image(w.tensor.mT, w.piece, w.scale, not w.transposed) if w else None
    return capture.affine(mat1, mat2.mT, input, (flipped, b))


def _number(value: Any) -> float | None:
    """A plain number, or a 0-dimensional tensor without gradient, as a float."""
    if isinstance(value, torch.Tensor):
        return float(value) if value.ndim == 0 and not value.requires_grad else None
    return float(value) if isinstance(value, (int, float)) else None


def _aligned(capture: Capture, image: Image, x: Any) -> tuple[int, ...] | None:
    """The parameter's shape without leading ones when it can be a broadcast operand of the data tensor ``x``."""
    if not isinstance(x, torch.Tensor) or image.transposed or capture.image(x) is not None or x.ndim < image.tensor.ndim:
        return None
    shape = tuple(image.tensor.shape)
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


def _pair(capture: Capture, a: Any, b: Any) -> tuple[Image, Any, bool] | None:
    """(image, other operand, whether the image stands first) when exactly one operand is an image."""
    first, second = capture.image(a), capture.image(b)
    if first is not None and second is None:
        return first, b, True
    if second is not None and first is None:
        return second, a, False
    return None


def _add(capture: Capture, func: Any, input: Any, other: Any, *, alpha: float = 1, sign: float = 1.0, out: Any = None) -> Any:
    found = _pair(capture, input, other)
    if found is None or alpha != 1 or out is not None:
        return NotImplemented
    image, x, first = found
    aligned = _aligned(capture, image, x)
    if aligned is None:
        return NotImplemented
    return capture.shift(x, image, aligned, sign=1.0 if first else sign, x_sign=sign if first else 1.0)


def _sub(capture: Capture, func: Any, input: Any, other: Any, *, alpha: float = 1, out: Any = None) -> Any:
    return _add(capture, func, input, other, alpha=alpha, sign=-1.0, out=out)


def _mul(capture: Capture, func: Any, input: Any, other: Any, *, out: Any = None) -> Any:
    found = _pair(capture, input, other)
    if found is None or out is not None:
        return NotImplemented
    image, x, _ = found
    number = _number(x)
    if number is not None:
        return capture.remember(Image(func(input, other), image.piece, image.scale * number, image.transposed))
    aligned = _aligned(capture, image, x)
    return NotImplemented if aligned is None else capture.stretch(x, image, aligned)


def _div(capture: Capture, func: Any, input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Any:
    image, number = capture.image(input), _number(other)
    if image is None or number is None or rounding_mode is not None or out is not None:
        return NotImplemented
    return capture.remember(Image(func(input, other), image.piece, image.scale / number, image.transposed))


def _transpose(capture: Capture, func: Any, input: torch.Tensor, *dims: Any, **named: Any) -> Any:
    image = capture.image(input)
    result = func(input, *dims, **named)
    if image is None or input.ndim != 2 or result.stride() == input.stride():
        return result
    return capture.remember(Image(result, image.piece, image.scale, not image.transposed))


def _scale_shift(capture: Capture, x: torch.Tensor, weight: Any, bias: Any, aligned: tuple[int, ...]) -> torch.Tensor:
    """x · weight + bias after a norm, each recorded where it is watched."""
    for value, combine, plain in ((weight, capture.stretch, torch.mul), (bias, capture.shift, torch.add)):
        if value is None:
            continue
        image = capture.image(value)
        x = combine(x, image, aligned) if image else plain(x, value.reshape(aligned))
    return x


def _norm(normalize: Callable[..., torch.Tensor], per_channel: bool) -> Callable[..., Any]:
    """A handler for a norm: normalise without affine part, then scale and shift with recorded uses."""
    signature = inspect.signature(normalize)

    def handle(capture: Capture, func: Any, *args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        weight, bias = call.arguments.get("weight"), call.arguments.get("bias")
        if call.arguments.get("training"):
            raise UnsupportedError(
                "batch normalisation in training mode couples the samples of a batch, so that the gradient of one output "
                "depends on the other samples and no kernel Θ(x, x′) exists; call model.eval() first"
            )
        if capture.image(weight) is None and capture.image(bias) is None:
            return NotImplemented
        call.arguments["weight"] = None
        if "bias" in call.arguments:
            call.arguments["bias"] = None
        x = call.arguments["input"]
        aligned = (x.shape[1], *[1] * (x.ndim - 2)) if per_channel else tuple(call.arguments["normalized_shape"])
        return _scale_shift(capture, normalize(*call.args, **call.kwargs), weight, bias, aligned)

    return handle


def _embedding(
    capture: Capture,
    func: Any,
    input: torch.Tensor,
    weight: torch.Tensor,
    padding_idx: int | None = None,
    max_norm: Any = None,
    *rest: Any,
    **more: Any,
) -> Any:
    image = capture.image(weight)
    if max_norm is not None:
        raise UnsupportedError(
            "an embedding with max_norm rescales its table in place during the forward pass, so its output is no "
            "differentiable function of the table; set max_norm=None"
        )
    if image is None or image.transposed:
        return NotImplemented
    z, edge = capture.tap(F.embedding(input, image.value, padding_idx))
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[0]
    tokens = capture.keep(input).reshape(-1)
    capture.uses.append(
        Lookup(image.piece, edge, z.shape, input.ndim, image.scale, tokens=tokens, table=weight.shape[0], padding=padding_idx)
    )
    return z


@functools.cache
def _handlers() -> dict[Any, Callable[..., Any]]:
    """Torch function -> handler; a handler returns NotImplemented where it does not apply."""
    from theodolite.lens.convolution import convolution
    from theodolite.lens.multihead import multihead

    tensor = torch.Tensor
    properties = [getattr(getattr(tensor, name), "__get__") for name in ("T", "mT")]  # noqa: B009
    table: dict[Any, Callable[..., Any]] = {
        F.linear: _linear,
        torch.addmm: _addmm,
        F.layer_norm: _norm(F.layer_norm, per_channel=False),
        F.rms_norm: _norm(F.rms_norm, per_channel=False),
        F.group_norm: _norm(F.group_norm, per_channel=True),
        F.batch_norm: _norm(F.batch_norm, per_channel=True),
        F.instance_norm: _norm(F.instance_norm, per_channel=True),
        F.embedding: _embedding,
        F.multi_head_attention_forward: multihead,
        **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), convolution),
        **dict.fromkeys((torch.matmul, torch.mm, tensor.matmul, tensor.mm, tensor.__matmul__), _matmul),
        **dict.fromkeys((torch.add, tensor.add, tensor.__add__, tensor.__radd__), _add),
        **dict.fromkeys((torch.sub, torch.subtract, tensor.sub, tensor.__sub__), _sub),
        **dict.fromkeys((torch.mul, torch.multiply, tensor.mul, tensor.__mul__, tensor.__rmul__), _mul),
        **dict.fromkeys((torch.div, torch.true_divide, tensor.div, tensor.__truediv__), _div),
        **dict.fromkeys((torch.t, torch.transpose, tensor.t, tensor.transpose, *properties), _transpose),
    }
    return table
