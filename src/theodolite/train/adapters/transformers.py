"""A Hugging Face Trainer callback: `theodolite.track` along ``Trainer.train``."""

from __future__ import annotations

from typing import Any

from theodolite.core.errors import require_extra
from theodolite.train.adapters.placement import placed
from theodolite.train.track import track

__all__ = ["transformers_callback"]


def transformers_callback(x: Any, y: Any = None, quantities: Any = ("rank.epsilon_rank",), **options: Any) -> Any:
    """A ``TrainerCallback`` whose ``.run`` is the tracked `Run`: ``Trainer(..., callbacks=[td.adapters.transformers_callback(x)])``.

    Args:
        x: probe inputs, such as ``{"input_ids": ids}``; moved to the model's device.
        y: probe targets.
        quantities: as for `theodolite.track`.
        options: further arguments of `theodolite.track`: ``when, loss, layers, store, sinks``.

    Raises:
        MissingExtraError: ``transformers`` is not installed.
    """
    require_extra("transformers", "transformers")
    from transformers import TrainerCallback

    class Tracked(TrainerCallback):
        run: Any = None

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
            self.run = track(model, placed(x, model), placed(y, model), quantities, **options)
            self.run.now = state.global_step  # not 0 when training resumes
            self.run.__enter__()

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.run.step()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            if self.run is not None and logs and "loss" in logs:
                self.run.note(loss=float(logs["loss"]))

        def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.run.__exit__(None, None, None)

    return Tracked()
