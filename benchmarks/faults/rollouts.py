"""Tuning with a simulator that goes wrong ends as with one that does not.

python -m benchmarks.faults.rollouts --episodes 10000

Of the episodes, drawn by their seeds, 1 % raise, 1 % return NaN, 0.5 % hang and 0.1 % take their worker with them, each
once. The same search runs with a clean simulator; recommended prompts, every outcome and the counts are compared, and
the time.
"""

import argparse
import dataclasses
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from pdt_lightning.core.seeding import generator
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.tasks.point import PointEnv
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import tune
from pdt_lightning.tuning.result import TaskResult
from pdt_lightning.tuning.subject import Subject

SHARES = {"raises": 0.01, "nan": 0.01, "hangs": 0.005, "dies": 0.001}
STEP = 3  # in which an episode goes wrong

MODULE = "benchmarks.faults.rollouts"  # as workers know it, where it is started by its name too
if "FaultyPoint-v0" not in gym.registry:
    gym.register("FaultyPoint-v0", entry_point=f"{MODULE}:FaultyPoint")


def way(seed: int) -> str:
    """How an episode goes wrong; empty for most."""
    u = generator(seed, "fault").random()
    for name, share in SHARES.items():
        if u < share:
            return name
        u -= share
    return ""


class FaultyPoint(PointEnv):
    """Goes wrong once for each of some seeds.

    Args:
        goal: of the point.
        horizon: of the point.
        folder: in which each fault leaves a file; empty: there are none.
    """

    def __init__(self, goal: int, horizon: int = 30, folder: str = ""):
        super().__init__(goal, horizon)
        self.folder, self.way = folder, ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """As the point's."""
        self.way = way(seed or 0) if self.folder else ""
        self.mark = Path(self.folder) / f"{self.goal}-{seed}-{self.way}"
        return super().reset(seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """As the point's, or not."""
        seen = super().step(action)
        if not self.way or self.steps != STEP or self.mark.exists():
            return seen
        self.mark.touch()
        if self.way == "raises":
            raise ArithmeticError("the simulation is unstable")
        if self.way == "hangs":
            time.sleep(10_000)
        if self.way == "dies":
            import os

            os._exit(7)
        return np.full(2, np.nan), *seen[1:]


def searched(
    policy: Policy, data: MultiTaskDataModule, options: argparse.Namespace, folder: str
) -> tuple[list[TaskResult], float, Counter]:
    """A phase on every held-out task: results, seconds, and what went wrong."""
    subjects = []
    for name in data.chosen(None):
        task = data.prompt_tasks[name]
        kwargs = {**task.env_kwargs, "folder": folder}
        task = dataclasses.replace(task, env_id=f"{MODULE}:FaultyPoint-v0", env_kwargs=kwargs)
        subjects.append(Subject(task, data.segments(name)))
    rounds = max(8, options.episodes // len(subjects) - 60)
    tuning = TuningOptions(rounds=rounds, parallel=options.parallel, oracle_candidates=0, yardstick_episodes=10)
    pool = RolloutPool(options.workers, options.width, step_timeout=options.step_timeout)
    start = time.perf_counter()
    try:
        results = tune(policy, subjects, pool.with_policy(policy), tuning, data.hparams["segments"], 0)
        return results, time.perf_counter() - start, Counter(pool.faults)
    finally:
        pool.close()


def main(args: list[str] | None = None) -> bool:
    """Search twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--parallel", type=int, default=64)
    parser.add_argument("--step_timeout", type=float, default=2.0)
    options = parser.parse_args(args)
    torch.set_num_threads(1)
    data = MultiTaskDataModule("point", context_steps=5, segments=2, segment_steps=3, progress=False)
    data.prepare_data()
    data.setup()
    module = LitPDT(2, 2, 30, context_steps=5, width=32, layers=2, inner=64, attention="window", seed=1)
    assert data.statistics is not None
    module.model.set_statistics(data.statistics)
    policy = Policy(module.model.eval().requires_grad_(False), 5)
    with tempfile.TemporaryDirectory() as folder:
        clean, seconds, _ = searched(policy, data, options, "")
        faulty, longer, counted = searched(policy, data, options, folder)
        made = Counter(path.name.split("-")[2] for path in Path(folder).iterdir())
    played = sum(len(result.trials) for result in clean)
    same = all(one.prompt.tobytes() == other.prompt.tobytes() for one, other in zip(clean, faulty, strict=True))
    outcomes = all(
        [trial.outcome for trial in one.trials] == [trial.outcome for trial in other.trials]
        for one, other in zip(clean, faulty, strict=True)
    )
    print(f"{played:,} rollouts of the tuner; went wrong: {dict(made)}; counted: {dict(counted)}")
    print(f"recommended prompts equal: {same}; all outcomes equal: {outcomes}")
    print(f"{seconds:.1f} s clean, {longer:.1f} s with faults: {longer / seconds:.2f} times")
    return same and outcomes


if __name__ == "__main__":
    raise SystemExit(not main())
