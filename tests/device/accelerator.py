"""A stand-in for an accelerator: a device of its own, named ``accel``, whose tensors live in ordinary memory.

It is as strict as a real one where programs go wrong: tensors of two devices do not mix, numpy cannot read its memory, and a
generator of the host draws nothing there. Registering a device changes the whole process, so that this needs one of its own.
"""

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("accel")
DEVICE = torch.device("accel", 0)

aten = torch.ops.aten
#: Operations that real devices allow between their tensors and the host's.
ACROSS = {aten.copy_.default, aten._to_copy.default, aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class Remote(torch.Tensor):
    """A tensor that says it is on the accelerator."""

    @staticmethod
    def __new__(cls, inner):
        told = {"dtype": inner.dtype, "layout": inner.layout, "device": DEVICE, "requires_grad": False}
        self = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), **told
        )
        self.inner = inner
        return self

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return carry_out(function, args, kwargs or {})

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, value):
        torch._C.TensorBase.data.__set__(self, value)
        self.inner = value.inner

    def numpy(self, *, force=False):
        if not force:
            raise TypeError("can't convert a tensor on accel to numpy; use Tensor.cpu() first")
        return self.detach().cpu().numpy()

    def __array__(self, *args):
        raise TypeError("can't convert a tensor on accel to numpy; use Tensor.cpu() first")

    def tolist(self):
        return self.detach().cpu().tolist()

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            copy = self.detach().clone()
            parameter = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = (
                torch.nn.Parameter(copy, self.requires_grad) if parameter else copy.requires_grad_(self.requires_grad)
            )
        return memo[id(self)]

    def data_ptr(self):
        return self.inner.data_ptr()

    def __repr__(self, **kwargs):
        return f"Remote({self.inner!r})"


def carry_out(function, args, kwargs):
    """An operation, by the host, on the tensors' memory."""
    leaves = tree_leaves((args, kwargs))
    remote = [t for t in leaves if isinstance(t, Remote)]
    host = [t for t in leaves if isinstance(t, torch.Tensor) and not isinstance(t, Remote)]
    if remote and any(t.ndim for t in host) and function not in ACROSS:
        raise RuntimeError(f"expected all tensors to be on the same device, but found accel and cpu in {function}")
    device = kwargs.get("device")
    there = bool(remote) if device is None else torch.device(device).type == "accel"
    if function is aten.copy_.default:
        there = isinstance(args[0], Remote)
    if there and any(isinstance(a, torch.Generator) for a in leaves):
        raise RuntimeError(f"expected a generator on accel but found one on cpu in {function}")
    kept = {id(t.inner): t for t in remote}
    if function is aten._efficientzerotensor.default:  # zeros without memory, which only the layer above can compute with
        function = aten.zeros.default
    args, kwargs = tree_map_only(Remote, lambda t: t.inner, (args, dict(kwargs)))
    kwargs |= {} if device is None else {"device": torch.device("cpu")}
    out = function(*args, **kwargs)
    return tree_map_only(torch.Tensor, lambda t: kept[id(t)] if id(t) in kept else Remote(t), out) if there else out


class _Factories(TorchDispatchMode):
    """Operations that make tensors from none."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return carry_out(function, args, kwargs or {})


@contextlib.contextmanager
def accelerator():
    """Inside, the device can be used. Tensors from Python numbers are made on the host first: torch does so out of sight."""
    given, of, new = torch.tensor, torch.as_tensor, torch.Tensor.new_tensor

    def tensor(data, *, dtype=None, device=None, requires_grad=False):
        made = given(data, dtype=dtype).to(device or "cpu")
        return made.requires_grad_() if requires_grad else made  # asking it under a transform of functorch is an error

    def as_tensor(data, dtype=None, device=None):
        if isinstance(data, torch.Tensor):
            return data.to(dtype=dtype or data.dtype, device=device or data.device)
        return of(data, dtype=dtype).to(device or "cpu")

    def new_tensor(self, data, *, dtype=None, device=None):
        return tensor(data, dtype=dtype or self.dtype, device=device or self.device)

    torch.tensor, torch.as_tensor, torch.Tensor.new_tensor = tensor, as_tensor, new_tensor
    try:
        # backward passes in this thread: one of the device's own would call Python from outside
        with _Factories(), torch.autograd.set_multithreading_enabled(False):
            yield DEVICE
    finally:
        torch.tensor, torch.as_tensor, torch.Tensor.new_tensor = given, of, new
