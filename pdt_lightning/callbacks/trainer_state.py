"""When a phase is due, as far as the trainer says it; and callbacks that monitor a number of a phase."""

from collections.abc import Callable
from typing import Any

import lightning

# The hooks in which Lightning's callbacks look at what they monitor.
HOOKS = ("on_train_batch_end", "on_train_epoch_end", "on_validation_end")


def epoch_is_over(trainer: lightning.Trainer) -> bool:
    """Whether all batches of the epoch were trained on."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready >= trainer.num_training_batches


def run_ends(trainer: lightning.Trainer) -> bool:
    """Whether training is foreseen to end here, or is none."""
    by_epochs = trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch + 1
    by_steps = 0 <= trainer.max_steps <= trainer.global_step
    return by_steps or trainer.state.fn != "fit" or (by_epochs and epoch_is_over(trainer))


def only_after_a_phase(trainer: lightning.Trainer, was_run: Callable[[], bool]) -> list[lightning.Callback]:
    """Let those callbacks that monitor a number of a phase look at it only where it is one of the present weights.

    Phases do not follow every validation. Elsewhere the number is missing, of which Lightning's callbacks make an
    error, or is that of an earlier phase, which they would take for a new one.

    Args:
        trainer: has the callbacks.
        was_run: whether a phase was run with the weights that there are now.

    Returns:
        Those callbacks.
    """

    def guarded(hook: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: hook(*args, **kwargs) if was_run() else None

    callbacks: list[lightning.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # the trainer has it, its stub has not
    found = [one for one in callbacks if str(getattr(one, "monitor", "")).startswith(("tuning/", "tuning_"))]
    for callback in found:
        for name in HOOKS:
            if name not in vars(callback):  # guarded already, by an earlier fit
                setattr(callback, name, guarded(getattr(callback, name)))
    return found
