"""A Lightning callback: `theodolite.track` along ``Trainer.fit``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from theodolite.core.errors import require_extra
from theodolite.train.adapters.placement import placed
from theodolite.train.track import track

__all__ = ["lightning_callback"]


def lightning_callback(x: Any, y: Any = None, quantities: Any = ("rank.epsilon_rank",), **options: Any) -> Any:
    """A ``Callback`` whose ``.run`` is the tracked `Run`: ``Trainer(callbacks=[td.adapters.lightning_callback(x)])``.

    Steps are optimiser steps (``trainer.global_step``), so accumulated batches count once.

    Args:
        x: probe inputs for the LightningModule's ``forward``; moved to its device.
        y: probe targets.
        quantities: as for `theodolite.track`.
        options: further arguments of `theodolite.track`: ``when, loss, layers, store, sinks``.

    Raises:
        MissingExtraError: neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """
    # A trainer accepts callbacks of its own package only: take the one that the script has imported.
    known = ("lightning.pytorch", "pytorch_lightning")
    package = next((name for name in known if name in sys.modules), None)
    if package is None:
        package = "pytorch_lightning" if importlib.util.find_spec("lightning") is None else "lightning.pytorch"
        require_extra(package.partition(".")[0], "lightning")

    base: Any = importlib.import_module(package).Callback

    class Tracked(base):
        run: Any = None

        def on_train_start(self, trainer: Any, module: Any) -> None:
            self.run = track(module, placed(x, module), placed(y, module), quantities, **options)
            self.run.now = trainer.global_step  # not 0 when training resumes
            self.run.__enter__()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *rest: Any) -> None:
            if trainer.global_step > self.run.now:
                loss = outputs["loss"] if isinstance(outputs, dict) else outputs
                self.run.step(**({} if loss is None else {"loss": loss}))

        def on_train_end(self, trainer: Any, module: Any) -> None:
            self.run.__exit__(None, None, None)

        def on_exception(self, trainer: Any, module: Any, error: BaseException) -> None:
            if self.run is not None:
                self.run.__exit__(type(error), error, error.__traceback__)

    return Tracked()
