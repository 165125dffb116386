"""Which weights a run is judged by: those that it saves."""

from collections.abc import Iterator
from contextlib import contextmanager

import lightning
from lightning.pytorch.callbacks import WeightAveraging


@contextmanager
def saved_weights(
    trainer: lightning.Trainer, module: lightning.LightningModule, caller: lightning.Callback
) -> Iterator[None]:
    """While it lasts, the module has the weights that a checkpoint of this moment holds.

    Callbacks that average weights put the average into checkpoints while training goes on with its own; what is
    reported has to be of what is saved.
    """
    callbacks = list(trainer.callbacks)  # type: ignore[attr-defined]  # the trainer has them, its stub has not
    if trainer.validating:
        # For a validation Lightning's averaging lends its average to the module; those behind the caller have not taken
        # it back.
        lent = [one for one in callbacks[callbacks.index(caller) :] if isinstance(one, WeightAveraging)]
        callbacks = [one for one in callbacks if one not in lent]
    checkpoint = {"state_dict": module.state_dict()}
    training_weights = checkpoint["state_dict"]
    for callback in callbacks:
        callback.on_save_checkpoint(trainer, module, checkpoint)
    if checkpoint["state_dict"] is training_weights:
        yield
        return
    trained = {name: values.clone() for name, values in training_weights.items()}
    module.load_state_dict({name: values.clone() for name, values in checkpoint["state_dict"].items()})
    try:
        yield
    finally:
        module.load_state_dict(trained)
