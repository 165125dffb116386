"""What changes the policy in place of the prompt: fine-tuning on the demonstrations of the task."""

import copy

import numpy as np
import torch

from pdt_lightning.data.batches import Pool, draw
from pdt_lightning.data.segments import Segments
from pdt_lightning.policy import Policy


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
) -> Policy:
    """A policy that has seen a few batches of the task's demonstrations; the given one stays as it is.

    Args:
        policy: to begin with.
        segments: candidates for prompts, whose demonstrations are learned.
        slots: `J`.
        rng: of the batches.
        updates: of AdamW.
        batch_size: windows of `K` steps in an update.
        learning_rate: of AdamW.

    Source: Xu et al. 2022 and Rietz et al. 2025, whose settings these are.
    """
    model = copy.deepcopy(policy.model).float().train().requires_grad_(True)
    device = model.state_mean.device
    pool = Pool(segments.episodes, np.arange(len(segments.episodes.lengths)), segments.steps)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
    with torch.random.fork_rng(devices=[]):  # dropout's
        torch.manual_seed(int(rng.integers(2**31)))
        for _ in range(updates):
            u = rng.random((batch_size, 1 + slots))
            batch = draw(pool, pool, u, np.zeros(batch_size, np.int64), policy.context_steps)
            predicted = model(batch.context.to(device), batch.prompt.to(device))
            errors = ((predicted - batch.labels.to(device)) / model.action_half).square().mean(-1)
            optimizer.zero_grad()
            ((errors * batch.context.mask.to(device)).sum() / batch.steps).backward()
            optimizer.step()
    return Policy(model.eval().requires_grad_(False), policy.context_steps, policy.precision)
