"""The error of the actions, task by task."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class TaskError(Metric):
    """Mean squared error of the actions, task by task, over all ranks.

    Args:
        tasks: how many tasks there are.
    """

    full_state_update = False

    def __init__(self, tasks: int):
        super().__init__()
        self.total: Tensor
        self.count: Tensor
        for name in ("total", "count"):
            self.add_state(name, torch.zeros(tasks), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> torch.nn.Module:
        """Move to another device, but stay in float32: in `bf16-true` a sum of many would lose what is added last."""
        return super()._apply(lambda values: fn(values).float(), exclude_state)

    def update(self, error: Tensor, mask: Tensor, task: Tensor) -> None:
        """Add rows: `error (B, T)` of each step, `mask (B, T)` of the valid ones, `task (B,)`."""
        self.total.index_add_(0, task, (error * mask).sum(-1).to(self.total.dtype))
        self.count.index_add_(0, task, mask.sum(-1).to(self.count.dtype))

    def compute(self) -> Tensor:
        """`(tasks,)`; NaN for a task without windows."""
        return self.total / self.count
