"""What a strategy of Lightning's has to know of the model, which ones cannot be used, and one that shards weights."""

import warnings
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard

from pdt_lightning.core.errors import UserError
from pdt_lightning.model.guests import zeros
from pdt_lightning.model.pdt import PromptDecisionTransformer

# They leave a share of each weight on each rank, which rollouts, clipping and checkpoints would have to know of.
OTHERS = {"FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy", "XLAFSDPStrategy"}


class FullySharded(ModelParallelStrategy):
    """Each rank keeps a share of every weight, of its gradient and of what the optimiser knows of it (torch's FSDP2).

    A block's weights are whole on a rank only while the block is computed. It is for a transformer whose training does
    not fit on one device; its weights alone have to fit into each rank's main memory, where rollouts have them whole.
    Checkpoints are whole too: one file, as of any other strategy.

    Args:
        timeout: hours, minutes and seconds that ranks wait while the first one makes the demonstrations.
    """

    def __init__(self, timeout: timedelta = timedelta(hours=12)):
        super().__init__(save_distributed_checkpoint=False, timeout=timeout)

    def setup_environment(self) -> None:
        """Divide the data over all ranks, and each weight too."""
        assert self.cluster_environment is not None
        self.set_world_ranks()
        self._data_parallel_size, self._tensor_parallel_size = self.world_size, 1
        super().setup_environment()


def shard(strategy: FullySharded, model: PromptDecisionTransformer) -> None:
    """Leave a share of each weight here."""
    # It warns of what is changed in place behind a block's back: keys and values never are.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = strategy.device_mesh["data_parallel"]
    for block in getattr(model.transformer, "blocks", ()):  # a guest's may have none
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def fit_strategy(trainer: Any, module: Any) -> None:
    """Refuse a strategy that cannot be used, prepare DDP for a guest, and have `FullySharded` share out the weights.

    Args:
        trainer: has the strategy.
        module: a `LitPDT`, on the CPU and whole.

    Raises:
        UserError: naming the option.
    """
    strategy, model = trainer.strategy, module.model
    if isinstance(strategy, FullySharded):
        averaging = [type(one).__name__ for one in trainer.callbacks if isinstance(one, WeightAveraging)]
        if averaging:
            raise UserError(
                f"`trainer.callbacks`: {averaging[0]} averages whole weights, and with `trainer.strategy`=fsdp each "
                "rank has a share of them. Take `trainer.strategy`=ddp, or leave it out."
            )
        # Of this module alone: Lightning takes every module of a class that has this hook for one that is sharded.
        module.configure_model = lambda: shard(strategy, model)
        return
    if found := OTHERS & {kind.__name__ for kind in type(strategy).mro()}:
        size = sum(parameter.numel() for parameter in model.parameters())
        raise UserError(
            f"`trainer.strategy`={found.pop()} shards the weights in a way of its own, and rollouts and checkpoints "
            f"need them whole. Take ddp: with gradients and optimiser this transformer of {size / 1e6:,.1f} million "
            f"parameters takes {16 * size / 2**30:,.1f} GiB on each device. Where that is too much, take fsdp, "
            "which is `model.strategies.FullySharded`."
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
