"""What a strategy of Lightning's has to know of the model, and which ones cannot be used."""

from typing import Any

import torch

from pdt_lightning.core.errors import UserError
from pdt_lightning.model.guests import zeros
from pdt_lightning.model.pdt import PromptDecisionTransformer

# They leave a share of each weight on each rank: rollouts, clipping and checkpoints would have to put it together.
SHARDING = {"FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy", "XLAFSDPStrategy"}


def fit_strategy(strategy: Any, model: PromptDecisionTransformer) -> None:
    """Refuse a strategy that shards weights, and prepare DDP for a guest.

    Args:
        strategy: of the trainer.
        model: on the CPU, before it is shared out.

    Raises:
        UserError: naming the option.
    """
    if found := SHARDING & {kind.__name__ for kind in type(strategy).mro()}:
        size = sum(parameter.numel() for parameter in model.parameters())
        raise UserError(
            f"`trainer.strategy`={found.pop()} shards the weights, and rollouts and checkpoints need them whole. Take "
            f"ddp: with gradients and optimiser this transformer of {size / 1e6:,.1f} million parameters takes "
            f"{16 * size / 2**30:,.1f} GiB on each device."
        )
    _allow_unused(strategy, model)


def _allow_unused(strategy: Any, model: PromptDecisionTransformer) -> None:
    """Have Lightning's DDP look for parameters without a gradient where a guest has some: else it ends the run.

    Args:
        strategy: of the trainer; one that is not DDP stays as it is.
        model: on the CPU, before it is shared out.
    """
    options = getattr(strategy, "_ddp_kwargs", None)
    if options is None or type(model) is PromptDecisionTransformer:
        return
    training = model.training
    predicted = model.eval()(*zeros(model.state_mean.numel(), model.action_mid.numel()))
    gradients = torch.autograd.grad(predicted.sum(), list(model.parameters()), allow_unused=True)
    model.train(training)
    if any(gradient is None for gradient in gradients):
        options["find_unused_parameters"] = True
