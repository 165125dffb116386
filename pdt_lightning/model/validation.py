"""What a validation finds: the error of the actions, task by task, and how often a choice is the right one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from pdt_lightning.data.batches import Batch
from pdt_lightning.model.actions import DiscreteActions
from pdt_lightning.model.pdt import PromptDecisionTransformer


class TaskError(Metric):
    """Mean error of the actions, task by task, over all ranks.

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


class Validation(torch.nn.Module):
    """Collects over the batches of a validation, on all ranks.

    Args:
        names: of each loader, with the ids of its tasks.
        model: whose predictions are looked at.
    """

    def __init__(self, names: Sequence[tuple[str, Sequence[str]]], model: PromptDecisionTransformer):
        super().__init__()
        self.names = list(names)
        self.errors = torch.nn.ModuleList(TaskError(len(tasks)) for _, tasks in names)
        most = max(model.actions.options) if isinstance(model.actions, DiscreteActions) else 0
        self.accuracies = torch.nn.ModuleList(MulticlassAccuracy(most, average="micro") for _ in names if most)

    def update(self, loader: int, model: PromptDecisionTransformer, batch: Batch) -> None:
        """Add a batch of the loader of that number."""
        error: Any = self.errors[loader]
        predicted, mask = model(batch.context, batch.prompt), batch.context.mask
        error.update(model.errors(predicted, batch.labels), mask, torch.tensor(batch.task, device=mask.device))
        if isinstance(model.actions, DiscreteActions):
            accuracy: Any = self.accuracies[loader]
            accuracy.update(model.actions.chosen(predicted)[mask], model.actions.chosen(batch.labels)[mask])

    def computed(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What was found, by name, of whole loaders and of single tasks; then it begins anew."""
        whole, single = dict[str, Tensor](), dict[str, Tensor]()
        for (name, tasks), metric in zip(self.names, self.errors, strict=True):
            errors: Tensor = metric.compute().reshape(-1)  # type: ignore[operator]  # torchmetrics squeezes a single task's
            whole[f"{name}/action_error"] = errors.nanmean()
            single |= {f"{name}_task/{task}": error for task, error in zip(tasks, errors, strict=True)}
        for (name, _), accuracy in zip(self.names, self.accuracies, strict=False):  # none of a box
            whole[f"{name}/action_accuracy"] = accuracy.compute()  # type: ignore[operator]
        for metric in (*self.errors, *self.accuracies):
            metric.reset()
        return whole, single
