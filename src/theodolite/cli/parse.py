"""Typed functions and dataclasses as commands (tyro), with defaults from a YAML file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from theodolite.core.errors import ArgumentError, unknown

T = TypeVar("T")

__all__ = ["command", "read_config", "split_config"]


def command(function: Callable[..., T], words: Sequence[str], name: str) -> T:
    """Parse ``words`` by the signature of ``function`` and call it. ``--config FILE.yaml`` gives defaults.

    Raises:
        UnknownNameError: a key of the YAML file that is no parameter.
    """
    import tyro

    words, config = split_config(words)
    settings = read_config(config) if config else {}
    parameters = inspect.signature(function).parameters
    for key in settings:
        if key.replace("-", "_") not in parameters:
            raise unknown(f"key in {config}", key, parameters)
    words = _with_defaults(words, settings, parameters)
    return tyro.cli(function, args=words, prog=f"theodolite {name}")


def split_config(words: Sequence[str]) -> tuple[list[str], str | None]:
    """The words without ``--config FILE``, and FILE."""
    rest, config, items = [], None, iter(words)
    for word in items:
        if word == "--config":
            config = next(items, None)
            if config is None:
                raise ArgumentError("--config must be followed by a YAML file")
        elif word.startswith("--config="):
            config = word.partition("=")[2]
        else:
            rest.append(word)
    return rest, config


def read_config(path: str) -> dict[str, Any]:
    """A YAML mapping.

    Raises:
        ArgumentError: the file is missing, is not YAML, or is no mapping.
    """
    import yaml

    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(f"--config must name a readable file, got {path!r}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ArgumentError(f"--config must be YAML, got {path!r}: {error}") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ArgumentError(f"--config must hold keys and values, got a {type(settings).__name__} in {path!r}")
    return {str(key): value for key, value in settings.items()}


def _with_defaults(words: list[str], settings: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Settings as words in front of the user's own, which then win; positional ones only if the user gave none."""
    given = {word.split("=")[0].lstrip("-").replace("-", "_") for word in words if word.startswith("--")}
    flags: list[str] = []
    positional: list[str] = []
    has_positional = bool(words) and not words[0].startswith("-")
    for key, value in settings.items():
        name = key.replace("-", "_")
        if name in given or f"no_{name}" in given:
            continue
        if parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY:
            if not has_positional:
                positional.append(str(value))
        elif isinstance(value, bool):
            flags.append(f"--{'' if value else 'no-'}{name.replace('_', '-')}")
        elif isinstance(value, (list, tuple)):
            flags += [f"--{name.replace('_', '-')}", *map(str, value)]
        elif value is not None:
            flags += [f"--{name.replace('_', '-')}", str(value)]
    return [*positional, *words, *flags]
