"""What is tried: rows of (task, prompt, episode seed) → outcomes."""

import functools
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from pdt_lightning.data.segments import Prompt
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.policy import Policy
from pdt_lightning.processes import process_pool
from pdt_lightning.tasks.base import Task


@dataclass(frozen=True)
class Row:
    """One episode to play.

    Args:
        task: with horizon, target and scale settled.
        prompt: one prompt.
        seed: of the episode, in [0, 2**31).
    """

    task: Task
    prompt: Prompt
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What came of an episode.

    Args:
        total: undiscounted return, in the environment's unit.
        success: highest `info["success"]`; None where the environment reports none.
        length: steps.
        failed: None, or why the episode could not be played; the other fields then mean nothing.
    """

    total: float
    success: float | None
    length: int
    failed: str | None = None


Rollout = Callable[[Sequence[Row]], list[Outcome]]


def rollout(policy: Policy, rows: Sequence[Row], width: int = 8) -> list[Outcome]:
    """Play all rows, in blocks of a fixed width.

    Short blocks are padded with inert rows and one torch thread is used on the CPU, so that for one width an outcome depends on
    its own row alone: not on its neighbours, their number, or who plays it.

    Args:
        policy: on any device.
        rows: any number, of any tasks with equal observation and action sizes.
        width: rows in a forward pass.

    Returns:
        An outcome for every row, in order; none is dropped for finishing late.
    """
    with one_thread():
        return [outcome for first in range(0, len(rows), width) for outcome in _play(policy, rows[first : first + width], width)]


def play_groups(play: Rollout, groups: Sequence[Sequence[Row]]) -> list[list[Outcome]]:
    """One batch of rollouts for all groups, so that blocks are full; the outcomes are handed back group by group."""
    outcomes = iter(play([row for group in groups for row in group]))
    return [[next(outcomes) for _ in group] for group in groups]


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread while it lasts: how sums are split over threads decides their last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _play(policy: Policy, rows: Sequence[Row], width: int) -> list[Outcome]:
    padded = [*rows, *[rows[0]] * (width - len(rows))]
    policy.reset(
        Prompt.cat([row.prompt for row in padded]),
        np.array([row.task.target_return for row in padded]),
        np.array([row.task.return_scale for row in padded]),
    )
    episodes = [_Episode(row) for row in rows]
    observations = np.zeros((width, policy.model.state_mean.numel()))
    rewards = np.zeros(width)
    for number, episode in enumerate(episodes):
        observations[number] = episode.observation
    first = True
    while any(episode.running for episode in episodes):
        actions = policy.act(observations, None if first else rewards)
        first = False
        for number, episode in enumerate(episodes):
            if episode.running:
                rewards[number] = episode.step(actions[number])
                observations[number] = episode.observation
    return [episode.close() for episode in episodes]


class _Episode:
    """One environment being played; what it raises becomes a failed outcome, and the other rows go on."""

    def __init__(self, row: Row):
        self.total, self.length = 0.0, 0
        self.failed: str | None = None
        self.success: float | None = None
        self.horizon = row.task.horizon or 0
        self.running = True
        self.env = row.task.make_env()
        self.observation = np.zeros(self.env.observation_space.shape or ())
        try:
            self.observation, info = self.env.reset(seed=row.seed)
            self._see(info)
        except Exception as error:  # whatever a simulator raises is the outcome of this row
            self._fail(error)

    def step(self, action: np.ndarray) -> float:
        """Act once; the reward."""
        try:
            space = self.env.action_space
            if not np.isfinite(action).all():
                raise FloatingPointError(f"the policy's action is {action}")
            observation, reward, terminated, truncated, info = self.env.step(np.clip(action, space.low, space.high))
            if not (np.isfinite(observation).all() and np.isfinite(reward)):
                raise FloatingPointError("observation or reward is not finite")
        except Exception as error:  # as above
            self._fail(error)
            return 0.0
        self.observation = observation
        self.total += float(reward)
        self.length += 1
        self._see(info)
        self.running = not (terminated or truncated) and self.length < self.horizon
        return float(reward)

    def _see(self, info: dict) -> None:
        if "success" in info:
            self.success = max(self.success or 0.0, float(info["success"]))

    def _fail(self, error: Exception) -> None:
        self.running, self.failed = False, f"{type(error).__name__}: {error}"

    def close(self) -> Outcome:
        self.env.close()
        return Outcome(self.total, self.success, self.length, self.failed)


class RolloutPool:
    """Worker processes that play blocks of rows; with 0 workers blocks are played here. The outcomes are the same.

    Processes start when first needed and stay until `close`, across policies.

    Args:
        workers: processes, each with one torch thread.
        width: rows in a forward pass.
    """

    def __init__(self, workers: int = 0, width: int = 8):
        if workers < 0:
            raise ValueError(f"--tuning.workers={workers}: it may not be negative.")
        if width < 1:
            raise ValueError(f"--tuning.width={width}: it has to be at least 1.")
        self.workers, self.width = workers, width
        self._pool: ProcessPoolExecutor | None = None

    def with_policy(self, policy: Policy, on_rollouts: Callable[[int], object] = lambda played: None) -> Rollout:
        """A function from rows to outcomes.

        Args:
            policy: must not change while the function is used.
            on_rollouts: told after each block how many rows were played, and every second of waiting 0, for a progress bar.
        """
        here = self.workers == 0 or policy.model.state_mean.device.type != "cpu"
        frozen = b"" if here else pickle.dumps(policy.model)

        def start(block: Sequence[Row]) -> Callable[[], list[Outcome]]:
            if here:
                return functools.partial(rollout, policy, block, self.width)
            # Pickled here, so that tensors travel as bytes and not as shared files, of which there are only so many.
            job = pickle.dumps((policy.context_steps, block, self.width))
            return functools.partial(_patiently, self._processes().submit(_play_frozen, frozen, job), on_rollouts)

        def play(rows: Sequence[Row]) -> list[Outcome]:
            blocks = [rows[first : first + self.width] for first in range(0, len(rows), self.width)]
            outcomes = []
            for block, result in [(block, start(block)) for block in blocks]:
                outcomes += result()
                on_rollouts(len(block))
            return outcomes

        return play

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = process_pool(self.workers)
        return self._pool

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _patiently(job: Future[list[Outcome]], on_rollouts: Callable[[int], object]) -> list[Outcome]:
    while True:
        try:
            return job.result(timeout=1)
        except TimeoutError:
            if job.done():  # it was the job's own
                raise
            on_rollouts(0)


@functools.lru_cache(maxsize=1)
def _thaw(frozen: bytes) -> PromptDecisionTransformer:
    return pickle.loads(frozen).eval()


def _play_frozen(frozen: bytes, job: bytes) -> list[Outcome]:
    context_steps, block, width = pickle.loads(job)
    return rollout(Policy(_thaw(frozen), context_steps), block, width)
