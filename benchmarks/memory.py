"""Anonymous memory of a process that trains and of one that plays, for a given amount of data.

python -m benchmarks.memory FOLDER EPISODES [--plain] prints megabytes. It is run as a process of its own for each
measurement, with `FOLDER` as the place of the datasets, which it writes where they are missing.
"""

import argparse
import json
import os
import re
from pathlib import Path

import numpy as np
import torch

from benchmarks import setting


def anonymous_megabytes(process: int | str = "self") -> float:
    """`RssAnon`: what belongs to the process alone, unlike the pages of a mapped file."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


def write(episodes: int) -> None:
    """Half-cheetah-sized datasets, one a task."""
    from pdt_lightning.data import minari

    env = setting.half_cheetah()[0].make_env()
    for task in range(setting.TASKS):
        name = f"bench/task-{task}-{episodes}-v0"
        if not minari.exists(name):
            made = setting.demonstrations(episodes, seed=task)
            minari.write(
                name, made, [np.zeros(setting.STATE_SIZE)] * episodes, env, [False] * episodes, "random numbers"
            )


def ours(episodes: int) -> dict[str, float]:
    """Train and play with the data module."""
    from pdt_lightning.data.datamodule import MultiTaskDataModule
    from pdt_lightning.model.lit_pdt import LitPDT
    from pdt_lightning.rollouts.policy import Policy
    from pdt_lightning.rollouts.pool import RolloutPool
    from pdt_lightning.rollouts.rollout import Row

    listed = [
        {"id": f"bench/{task}", "training_data": [f"bench/task-{task}-{episodes}-v0"]} for task in range(setting.TASKS)
    ]
    held_out = [{"id": "bench/held-out", "prompt_data": [f"bench/task-0-{episodes}-v0"]}]
    data = MultiTaskDataModule(
        "minari",
        {"training": listed, "held_out": held_out},
        segments=setting.SEGMENTS,
        segment_steps=setting.SEGMENT_STEPS,
        validation_windows=64,
        progress=False,
    )  # fmt: skip
    data.prepare_data()
    data.setup()
    module = LitPDT(data.state_size, data.action_size, data.max_timesteps)
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    for update in range(30):
        setting.update(module, optimizer, data.batch(update))
    pool = RolloutPool(workers=1)
    try:
        prompt = data.segments("bench/held-out").gather(np.array([[0, 1]]))
        play = pool.with_policy(Policy(module.model.eval(), setting.K))
        play([Row(setting.half_cheetah()[0], prompt, seed) for seed in range(8)])
        (worker,) = pool._processes()._processes or {}
        return {"trainer": anonymous_megabytes(), "worker": anonymous_megabytes(worker)}
    finally:
        pool.close()


def plainly(episodes: int) -> dict[str, float]:
    """All trajectories in memory, as the public code has them, and batches out of them."""
    from benchmarks import plain
    from pdt_lightning.data import minari
    from pdt_lightning.data.episodes import Episodes

    tasks = [list(minari.read(f"bench/task-{task}-{episodes}-v0")) for task in range(setting.TASKS)]
    together = Episodes.build(tasks, [500.0] * len(tasks))
    del tasks
    model = plain.plain_model(setting.model()).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(model.parameters())
    members = [np.flatnonzero(together.task == task) for task in range(setting.TASKS)]
    rng = np.random.default_rng(0)
    for _ in range(30):
        drawn = plain.draws(together, members[:32], 2, setting.SEGMENTS, setting.SEGMENT_STEPS, rng)
        plain.train_step(model, optimizer, *plain.batch(together, *drawn, setting.K, setting.SEGMENT_STEPS))
    return {"trainer": anonymous_megabytes(), "worker": 0.0}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("episodes", type=int, help="Of each of the 35 tasks.")
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    os.environ["MINARI_DATASETS_PATH"] = options.folder
    write(options.episodes)
    print(json.dumps(plainly(options.episodes) if options.plain else ours(options.episodes)))
