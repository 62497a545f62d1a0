"""The model and the data that a command is pointed at, and where it leaves the weights that it has made."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.core.errors import ArgumentError, ModelError, UnsupportedError, unknown

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load_data", "load_model", "save_weights"]

PICKLES = (".pt", ".pth", ".pkl", ".bin", ".ckpt")


def load_model(target: str, allow_pickle: bool = False) -> nn.Module:
    """The module that ``target`` names.

    Args:
        target: ``file.py:factory`` or ``package.module:factory`` (a function without required arguments, or a module), or a
            ``.pt2`` file written by `torch.export.save`.
        allow_pickle: also load a pickled module, which runs whatever code the file holds.

    Raises:
        ArgumentError: no such file or form. UnknownNameError: no such factory. UnsupportedError: a pickle, or not a module.
    """
    from torch import nn

    path = Path(target)
    if path.suffix == ".pt2":
        return _exported(path)
    if path.suffix in PICKLES:
        return _pickled(path, allow_pickle)
    made = _attribute(target)
    if isinstance(made, type) or not isinstance(made, nn.Module):
        if not callable(made):
            raise UnsupportedError(f"{target!r} is a {type(made).__name__}, neither a module nor a function that makes one")
        try:
            made = made()
        except Exception as error:
            raise ModelError(f"{target!r} raised {type(error).__name__} when called without arguments: {error}") from error
    if not isinstance(made, nn.Module):
        raise UnsupportedError(f"{target!r} made a {type(made).__name__}, not a torch.nn.Module")
    return made


def load_data(data: str, model: nn.Module) -> tuple[Any, Any]:
    """(x, y) that ``data`` names; y is None where there is none.

    Args:
        data: ``digits``; a ``.npz`` file with arrays ``x`` and, if need be, ``y``; or ``module:function`` returning x or (x, y).
        model: decides whether digits come as rows of 64 or as 1 × 8 × 8 images, and in which dtype.
    """
    if data == "digits":
        return _digits(model)
    if data.endswith(".npz"):
        return _npz(Path(data))
    if ":" in data:
        made = _attribute(data)
        made = made() if callable(made) else made
        if isinstance(made, tuple) and len(made) == 2:
            return made
        return made, None
    raise ArgumentError(f"--data must be 'digits', a .npz file or module:function, got {data!r}")


def _attribute(target: str) -> Any:
    where, _, name = target.rpartition(":")
    if not where or not name:
        raise ArgumentError(f"the target must be file.py:name, package.module:name or a .pt2 file, got {target!r}")
    if where.endswith(".py"):
        module = _file_module(Path(where))
    else:
        sys.path.insert(0, str(Path.cwd()))
        try:
            module = importlib.import_module(where)
        except ModuleNotFoundError as error:
            raise ArgumentError(f"the module {where!r} cannot be imported: {error}") from error
        finally:
            sys.path.remove(str(Path.cwd()))
    if not hasattr(module, name):
        raise unknown(f"name in {where}", name, [n for n in vars(module) if not n.startswith("_")])
    return getattr(module, name)


def _file_module(path: Path) -> Any:
    if not path.is_file():
        raise ArgumentError(f"there is no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses and pickling look their module up
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"running {str(path)!r} raised {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _exported(path: Path) -> nn.Module:
    import torch

    if not path.is_file():
        raise ArgumentError(f"there is no file {str(path)!r}")
    log = logging.getLogger("torch.export")
    was, log.disabled = log.disabled, True  # a file that is no program would be logged with a traceback before the error
    try:
        return torch.export.unflatten(torch.export.load(path))
    except Exception as error:
        raise UnsupportedError(
            f"{str(path)!r} is not a readable torch.export program: {type(error).__name__}: {error}"
        ) from error
    finally:
        log.disabled = was


def _pickled(path: Path, allow_pickle: bool) -> nn.Module:
    import torch
    from torch import nn

    if not path.is_file():
        raise ArgumentError(f"there is no file {str(path)!r}")
    if not allow_pickle:
        raise UnsupportedError(
            f"{str(path)!r} looks like a pickle, and loading a pickled module runs any code it holds. Export the model with "
            "torch.export.save to a .pt2 file, or point at a factory (file.py:make_model); if you trust the file, pass --allow-pickle"
        )
    loaded = torch.load(path, weights_only=False, map_location="cpu")
    if not isinstance(loaded, nn.Module):
        raise UnsupportedError(
            f"{str(path)!r} holds a {type(loaded).__name__}, not a module; a state dict needs its model's code"
        )
    return loaded


def _digits(model: nn.Module) -> tuple[Any, Any]:
    import torch

    from theodolite.data import digits
    from theodolite.lens import frozen

    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    dtype = torch.float32 if parameter is None else parameter.dtype
    errors = []
    for images in (False, True):
        split = digits(1437, images=images, dtype=dtype)
        x, y = split.x, split.y
        if parameter is not None:
            x, y = x.to(parameter.device), y.to(parameter.device)
        try:
            with frozen(model), torch.no_grad():
                model(x[:2])
        except Exception as error:
            errors.append(f"{tuple(x.shape)}: {error}")
        else:
            return x, y
    raise ModelError("the model takes the digits neither as rows nor as images; " + "; ".join(errors))


def _npz(path: Path) -> tuple[Any, Any]:
    import numpy as np
    import torch

    if not path.is_file():
        raise ArgumentError(f"there is no file {str(path)!r}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "x" not in arrays:
                raise ArgumentError(f"{str(path)!r} must hold an array 'x' (and 'y'), got {', '.join(arrays.files) or 'nothing'}")
            x, y = arrays["x"], arrays.get("y")
    except (OSError, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError(f"{str(path)!r} is not a readable .npz file: {error}") from error
    return x, None if y is None else torch.from_numpy(y)


def save_weights(model: nn.Module, out: Path | None) -> None:
    """Write a model's state_dict to ``out`` (torch.save) and say so; nothing without a file."""
    if out is None:
        return
    import torch

    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), out)
    print(f"wrote {out}")
