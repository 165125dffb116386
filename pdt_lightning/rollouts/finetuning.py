"""What changes the policy in place of the prompt: fine-tuning on the demonstrations of the task."""

import copy

import numpy as np
import torch

from pdt_lightning.data.batches import Pool, draw
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy


@torch.inference_mode(False)
@torch.enable_grad()
def finetuned(
    policy: Policy,
    segments: Segments,
    slots: int,
    rng: np.random.Generator,
    updates: int = 10,
    batch_size: int = 256,
    learning_rate: float = 1e-4,
    weight_decay: float = 1e-4,
    gradient_clip: float = 0.25,
) -> Policy:
    """A policy that has seen a few batches of the task's demonstrations; the given one stays as it is.

    Args:
        policy: to begin with.
        segments: candidates for prompts, whose demonstrations are learned.
        slots: `J`.
        rng: of the batches.
        updates: of AdamW, each with fresh random prompts, as in pretraining.
        batch_size: windows of `K` steps in an update; in window form chunks of twice as many.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        gradient_clip: largest norm of the gradient.

    Source: Xu et al. 2022 and Rietz et al. 2025, whose settings these are; there one prompt serves all updates and the
    evaluation.
    """
    model = copy.deepcopy(policy.model).float().train().requires_grad_(True)
    device = model.state_mean.device
    pool = Pool(segments.episodes, np.arange(len(segments.episodes.lengths)), segments.steps)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    rows = (policy.context_steps, False) if model.window_steps is None else (2 * model.window_steps, True)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):  # dropout's
        torch.manual_seed(int(rng.integers(2**31)))
        for _ in range(updates):
            u = rng.random((batch_size, 1 + slots))
            batch = draw(pool, pool, u, np.zeros(batch_size, np.int64), *rows)
            predicted = model(batch.context.to(device), batch.prompt.to(device))
            errors = model.errors(predicted, batch.labels.to(device))
            optimizer.zero_grad()
            ((errors * batch.context.mask.to(device)).sum() / batch.steps).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
            optimizer.step()
    return Policy(model.eval().requires_grad_(False), *policy.settings)
