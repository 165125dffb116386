"""Prompt sensitivity: how much a model's actions depend on which of a task's prompts it is given.

At one step only the prompt differs, so that the spread of the predictions there is the prompt's. Over steps the actions
differ anyway. The one is compared with both together.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdt_lightning.core.distributed import attempt, gather
from pdt_lightning.core.errors import UserError
from pdt_lightning.core.seeding import generator
from pdt_lightning.data.batches import Pool
from pdt_lightning.data.windows import context_windows
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.model.whole import whole_model

ROUNDING = 1e-5  # half-widths of the action box: prompts that move actions by less do not move them
# Of a training task.
PROMPTS = 8
WINDOWS = 16
STEPS = 3  # of a window, which hardly tells the task by itself


def prompt_sensitivity(model: PromptDecisionTransformer, predicted: Tensor, present: Tensor) -> float:
    """Standard deviation of the actions over prompts, as a share of that over prompts and steps.

    It has no unit and lies between 0 (the prompt decides nothing) and 1 (it decides everything, so that all steps
    behind one prompt have the same action). Coordinates of an action add up in half-widths of the action box, and of
    choices the probabilities are meant.

    Args:
        model: which predicted.
        predicted: `(P, ..., A)` at the same steps behind `P` prompts, as from `PromptDecisionTransformer.forward`.
        present: `(...)` whether a step is there.

    Source: root of the total-effect index of the prompt (Homma and Saltelli 1996); that the spread over prompts tells
    something of a task is the idea of Active Instruction Tuning (Kung et al. 2023, arXiv 2311.00288).
    """
    actions = model.normalise_actions(model.actions.as_labels(predicted.float()))[:, present].double()  # (P, steps, A)
    at_a_step = float(actions.var(dim=0, correction=0).mean(dim=0).sum())
    in_all = float(actions.flatten(0, 1).var(dim=0, correction=0).sum())
    return math.sqrt(min(1.0, at_a_step / in_all)) if at_a_step > ROUNDING**2 else 0.0


@torch.inference_mode()
def task_sensitivities(
    model: PromptDecisionTransformer, pool: Pool, slots: int, context_steps: int, rng: np.random.Generator
) -> list[float]:
    """Prompt sensitivity of every training task, on a few random windows behind a few random prompts.

    Args:
        model: left as it is.
        pool: of the training tasks' demonstrations.
        slots: `J`.
        context_steps: `K`.
        rng: draws both.
    """
    trained, device, found = model.training, model.state_mean.device, []
    model.eval()
    for task in range(len(pool.first_member)):
        episode, start = pool.contexts(rng.random(WINDOWS), np.full(WINDOWS, task), min(STEPS, context_steps))
        contexts, _ = context_windows(pool.episodes, episode, start, min(STEPS, context_steps))
        prompts = pool.prompts(rng.random((PROMPTS, slots)), np.full(PROMPTS, task))
        rows = torch.arange(PROMPTS * WINDOWS)
        # Not by calling the model, which may be compiled for the batches of training.
        predicted = model.forward(contexts[rows % WINDOWS].to(device), prompts[rows // WINDOWS].to(device))
        found.append(prompt_sensitivity(model, predicted.unflatten(0, (PROMPTS, WINDOWS)), contexts.mask.to(device)))
    model.train(trained)
    return found


def check_task_sampling(data: Any, use_prompt: bool) -> None:
    """Refuse to draw tasks by the sensitivity to prompts that the model does without, or by rollouts of nobody.

    Raises:
        UserError: naming the options.
    """
    name = data.hparams.get("task_sampling")  # a data module of one's own has no such
    if name == "success" and not data.task_sampling.has_player:
        raise UserError(
            "`data.task_sampling`=success needs rollouts of the training tasks: give the trainer the callback "
            "TaskSuccess(tuning) after tuning=PromptTuning(...)."
        )
    if name == "sensitivity" and not use_prompt:
        raise UserError(
            "`data.task_sampling`=sensitivity follows how much prompts matter, but with `model.use_prompt`=False there "
            "are none. Take `data.task_sampling`=uniform."
        )


def follow_sensitivity(trainer: Any, module: Any) -> None:
    """Where training draws its tasks by sensitivity, measure that of a `LitPDT` for the epoch that begins.

    It is a collective there.

    The first rank measures, so that all ranks draw alike. Loggers are told each task's share, as `train_share/<task>`.
    """
    data, epoch = trainer.datamodule, trainer.current_epoch
    sampling = getattr(data, "task_sampling", None)  # a data module of one's own draws as it likes
    # With `overfit_batches` the batches are the same in every epoch.
    if sampling is None or sampling.name != "sensitivity" or trainer.overfit_batches or not sampling.is_due(epoch):
        return
    rng = generator(data.hparams["seed"], "prompt sensitivity", epoch)
    sizes = (data.hparams["segments"], data.hparams["context_steps"])
    first, model = trainer.is_global_zero, whole_model(module)
    found = gather(attempt(lambda: task_sensitivities(model, data.training_pool, *sizes, rng) if first else []))
    sampling.follow(found[0], epoch)
    names = [f"train_share/{task.id}" for task in data.training_tasks]
    for logger in trainer.loggers:
        logger.log_metrics(dict(zip(names, sampling.shares().tolist(), strict=True)), trainer.global_step)
