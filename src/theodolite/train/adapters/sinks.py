"""Where the numbers of a look go besides the record: JSON lines, and trackers that people have open anyway.

A sink is a callable ``(numbers, step)`` with ``close()``; pass it to `theodolite.track` or an adapter as ``sinks=[…]``. Names are
``quantity/layer``; what cannot be measured is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from theodolite.core.errors import require_extra

__all__ = ["JsonLines", "MLflow", "TensorBoard", "Trackio", "WandB"]


class JsonLines:
    r"""One line of JSON per look, ``{"step": …, name: value, …}``, appended and flushed.

    Args:
        path: the file; its folder is made.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "looks.jsonl"
        >>> sink = JsonLines(path)
        >>> sink({"rank.epsilon_rank/1": 4.0}, 10)
        >>> sink.close()
        >>> path.read_text()
        '{"step": 10, "rank.epsilon_rank/1": 4.0}\n'
    """

    def __init__(self, path: str | Path) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 - closed with the run

    def __call__(self, numbers: Mapping[str, float], step: int) -> None:
        """Log one look."""
        self._file.write(json.dumps({"step": step, **numbers}, allow_nan=False, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard:
    """Scalars of TensorBoard.

    Args:
        where: a log folder, or a ``SummaryWriter`` of yours, which stays open.

    Raises:
        MissingExtraError: ``tensorboard`` is not installed.
    """

    def __init__(self, where: Any) -> None:
        self._own = isinstance(where, (str, Path))
        if self._own:
            require_extra("tensorboard", "tensorboard")
            from torch.utils.tensorboard import SummaryWriter

            where = SummaryWriter(str(where))
        self._writer = where

    def __call__(self, numbers: Mapping[str, float], step: int) -> None:
        """Log one look."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left; close the writer if it was made here."""
        self._writer.close() if self._own else self._writer.flush()


class WandB:
    """Weights & Biases. Looks are logged over their own axis ``theodolite/step``, beside whatever else the run logs.

    Args:
        run: a run of yours, which stays open; by default one is started.
        settings: for ``wandb.init``, such as ``project=…, mode="offline", dir=…``.

    Raises:
        MissingExtraError: ``wandb`` is not installed.
    """

    def __init__(self, run: Any = None, **settings: Any) -> None:
        self._own = run is None
        if run is None:
            require_extra("wandb", "wandb")
            import wandb

            run = wandb.init(**settings)
        self._run = run
        self._defined: set[str] = set()

    def __call__(self, numbers: Mapping[str, float], step: int) -> None:
        """Log one look."""
        for name in numbers.keys() - self._defined:
            self._run.define_metric(name, step_metric="theodolite/step")
        self._defined |= numbers.keys()
        self._run.log({**numbers, "theodolite/step": step})

    def close(self) -> None:
        """Finish the run if it was started here."""
        if self._own:
            self._run.finish()


class MLflow:
    """Metrics of MLflow, in the active run or in one that is started. Symbols that MLflow forbids in names become ``_``.

    Args:
        settings: for ``mlflow.start_run``, used when no run is active.

    Raises:
        MissingExtraError: ``mlflow`` is not installed.
    """

    def __init__(self, **settings: Any) -> None:
        require_extra("mlflow", "mlflow")
        import mlflow

        self._mlflow = mlflow
        self._own = mlflow.active_run() is None
        self._id = (mlflow.start_run(**settings) if self._own else mlflow.active_run()).info.run_id

    def __call__(self, numbers: Mapping[str, float], step: int) -> None:
        """Log one look."""
        allowed = {"".join(c if c.isalnum() or c in "_-./ " else "_" for c in name): v for name, v in numbers.items()}
        self._mlflow.log_metrics(allowed, step=step, run_id=self._id)

    def close(self) -> None:
        """End the run if it was started here."""
        if self._own:
            self._mlflow.end_run()


class Trackio:
    """Trackio, Hugging Face's local tracker.

    Args:
        project: name of the project.
        settings: for ``trackio.init``, such as ``name=…``; ``embed`` is off unless given, so that no page is opened.

    Raises:
        MissingExtraError: ``trackio`` is not installed.
    """

    def __init__(self, project: str, **settings: Any) -> None:
        require_extra("trackio", "trackio")
        import trackio

        self._run = trackio.init(project=project, **{"embed": False, **settings})

    def __call__(self, numbers: Mapping[str, float], step: int) -> None:
        """Log one look."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
