"""Pretraining to the same error: ours, ours in window form, and the plain way.

The task is pick-place, with prompts of 2 x 20 steps.

python -m benchmarks.pretraining --updates 400 --threads 1

Ours and the plain way make as many updates of the same size, the window form more and smaller ones (2.5 times fewer
steps in all).

Prints seconds of training, the acting error on validation episodes, and untuned return and success on the held-out
goals.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch

from benchmarks import plain, setting
from benchmarks.attention import acting_error
from pdt_lightning.core.seeding import generator
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.data.task_sampling import balanced_tasks
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Row, rollout

LEARNING_RATE = 1e-3


def verdict(module: LitPDT, data: MultiTaskDataModule, episodes: int) -> str:
    """What the weights are worth."""
    module.eval()
    error = acting_error(module.model, data.validation_pool, data.training_pool, setting.K, setting.SEGMENTS)
    rows = []
    for task in data.heldout_tasks:
        segments, rng = data.segments(task.id), generator(0, "untuned", task.id)
        for seed in range(episodes):
            rows.append(Row(task, segments.gather(rng.integers(len(segments), size=(1, setting.SEGMENTS))), seed))
    outcomes = rollout(Policy(module.model, setting.K), rows, setting.ROWS)
    total, success = (np.mean([getattr(outcome, name) for outcome in outcomes]) for name in ("total", "success"))
    return f"acting error {error:.5f}, untuned return {total:.1f}, success {success:.3f}"


def main() -> None:
    """Train twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument(
        "--batch_size",
        type=int,
        default=64,
        help="Windows; the window form takes a quarter as many chunks of 2 K steps.",
    )
    parser.add_argument(
        "--variants", nargs="+", default=["ours", "window", "plain"], choices=["ours", "window", "plain"]
    )
    parser.add_argument("--threads", type=int, default=setting.PROCESSES)
    parser.add_argument("--episodes", type=int, default=25, help="Untuned ones, of each held-out goal.")
    options = parser.parse_args()
    published: dict[str, Any] = {"batch_size": options.batch_size}
    chunks: dict[str, Any] = {
        "attention": "window",
        "chunk_steps": 2 * setting.K,
        "batch_size": options.batch_size // 4,
    }
    for name in options.variants:
        updates = round(options.updates * (1.6 if name == "window" else 1))
        data = MultiTaskDataModule(
            "metaworld",
            context_steps=setting.K,
            segments=setting.SEGMENTS,
            segment_steps=setting.SEGMENT_STEPS,
            **(chunks if name == "window" else published),
        )
        data.prepare_data()
        data.setup()
        pool, members = data.training_pool, plain.members(data.training_pool)
        torch.set_num_threads(options.threads)
        sizes = (data.state_size, data.action_size, data.max_timesteps)
        module = LitPDT(*sizes, context_steps=setting.K, dropout=0.0, attention=data.hparams["attention"]).train()
        assert data.statistics is not None
        module.model.set_statistics(data.statistics)
        if name == "plain":
            module.model = plain.plain_model(module.model)
        optimizer = torch.optim.AdamW(module.parameters(), LEARNING_RATE, weight_decay=1e-4, fused=name != "plain")
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, updates, pct_start=0.05)
        rng, start = np.random.default_rng(0), time.perf_counter()
        for update in range(updates):
            if name != "plain":
                setting.update(module, optimizer, data.batch(update))
            else:
                tasks = balanced_tasks(0, update * options.batch_size, options.batch_size, len(members))
                own = [members[task] for task in tasks]
                drawn = plain.draws(pool.episodes, own, 1, setting.SEGMENTS, setting.SEGMENT_STEPS, rng)
                plain.train_step(
                    module.model, optimizer, *plain.batch(pool.episodes, *drawn, setting.K, setting.SEGMENT_STEPS)
                )
            scheduler.step()
        seconds = time.perf_counter() - start
        if name == "plain":
            module.model.__class__ = PromptDecisionTransformer
        print(f"{name}: {updates} updates in {seconds:.0f} s; {verdict(module, data, options.episodes)}", flush=True)


if __name__ == "__main__":
    main()
