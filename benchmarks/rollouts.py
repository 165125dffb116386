"""Environment steps a second of rollouts, against the plain way and against the simulator alone."""

import contextlib
import copy
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks import plain, setting
from pdt_lightning.core.processes import process_pool
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.rollouts.environment_cache import Environments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import Outcome, Row, rollout
from pdt_lightning.tasks import Task


class Recording(Policy):
    """A policy that remembers its actions."""

    def reset(self, *args: object) -> None:
        """Start a block."""
        super().reset(*args)  # type: ignore[arg-type]
        self.actions: list[np.ndarray] = []

    def act(self, *args: object) -> np.ndarray:
        """Act and remember."""
        self.actions.append(super().act(*args))  # type: ignore[arg-type]
        return self.actions[-1]


@functools.cache
def environments() -> Environments:
    """Of this process."""
    return Environments(2 * setting.ROWS)


def replay(rows: Sequence[tuple[Task, int, np.ndarray]]) -> int:
    """Play recorded actions without a model, all rows in step as in a rollout; steps played."""
    envs = [environments().lend(task) for task, _, _ in rows]
    for env, (_, seed, _) in zip(envs, rows, strict=True):
        env.reset(seed=seed)
    for step in range(max(len(actions) for _, _, actions in rows)):
        for env, (_, _, actions) in zip(envs, rows, strict=True):
            if step < len(actions):
                env.step(actions[step])
    for env, (task, _, _) in zip(envs, rows, strict=True):
        environments().take_back(task, env)
    return sum(len(actions) for _, _, actions in rows)


@dataclass
class Rate:
    """Environment steps a second: ours, the plain way's and the simulator's."""

    ours: float
    plain: float
    limit: float


def steps(outcomes: Sequence[Outcome]) -> int:
    """Steps of all episodes."""
    assert all(outcome.failed is None for outcome in outcomes), outcomes
    return sum(outcome.length for outcome in outcomes)


def plain_rate(model: PromptDecisionTransformer, row: Row) -> float:
    """Of the plain way, with as many threads as it runs fastest with; the published form whatever the model's."""
    model = copy.deepcopy(model)
    model.window_steps = None
    plainly = plain.plain_model(model)
    rates = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        plain.rollout(plainly, row, setting.K)
        seconds = setting.seconds(lambda: rates.append(float(plain.rollout(plainly, row, setting.K).length)))
        rates[-1] /= seconds
    return max(rates)


def measure(
    model: PromptDecisionTransformer,
    tasks: Sequence[Task],
    prompt_steps: int,
    precision: str = "32-true",
    rows_each: int = setting.ROWS,
    repeats: int = 5,
) -> Rate:
    """All three, in turns; the medians."""
    sizes = (len(model.state_mean), len(model.action_mid))
    prompts = setting.prompts(setting.PROCESSES * rows_each, prompt_steps, *sizes)
    rows = [Row(tasks[n % len(tasks)], prompts[[n]], n) for n in range(len(prompts))]
    policy = Policy(model, setting.K, precision)
    recorded: list[tuple[Task, int, np.ndarray]] = []
    for first in range(0, len(rows), rows_each):
        recording = Recording(model, setting.K, precision)
        block = rows[first : first + rows_each]
        outcomes = rollout(recording, block, rows_each)
        bounds = block[0].task.make_env().action_space
        actions = np.clip(np.stack(recording.actions), bounds.low, bounds.high)
        recorded += [
            (row.task, row.seed, actions[: o.length, n]) for n, (row, o) in enumerate(zip(block, outcomes, strict=True))
        ]
    rates: list[tuple[float, float, float]] = []
    with (
        contextlib.closing(RolloutPool(setting.PROCESSES, rows_each)) as workers,
        process_pool(setting.PROCESSES) as simulators,
    ):
        play = workers.with_policy(policy)
        parts = [recorded[n :: setting.PROCESSES] for n in range(setting.PROCESSES)]
        for repeat in range(repeats + 1):
            start = time.perf_counter()
            own = steps(play(rows))
            between = time.perf_counter()
            alone = sum(simulators.map(replay, parts))
            end = time.perf_counter()
            if repeat:  # the first starts processes and builds environments
                rates.append((own / (between - start), plain_rate(model, rows[0]), alone / (end - between)))
    return Rate(*(float(np.median(column)) for column in zip(*rates, strict=True)))
