"""What is tried: rows of (task, prompt, episode seed) → outcomes."""

import time
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import gymnasium as gym
import numpy as np
import torch

from pdt_lightning.core.plain import plain
from pdt_lightning.data.minari import Demonstration
from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.environment_cache import Environments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tasks.actions import as_type
from pdt_lightning.tasks.base import Task
from pdt_lightning.tasks.success import of_step


@dataclass(frozen=True)
class Row:
    """One episode to play.

    Args:
        task: with horizon, target and scale settled.
        prompt: one prompt.
        seed: of the episode, in [0, 2**31).
        recorded: whether what is seen and done is handed on with the outcome.
    """

    task: Task
    prompt: Prompt
    seed: int
    recorded: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of an episode.

    Args:
        total: undiscounted return, in the environment's unit.
        success: the highest that a step reports, from 0 to 1; None where none does.
        length: steps.
        failed: None, or why the episode could not be played; the other fields then mean nothing.
        last_success: what the last step reports; None where it reports none.
        replays: how often it was played again since it had gone wrong, which is no part of what came of it: where
            several episodes of a block go wrong, one may hide another.
        episode: what was seen and done, where the row says that it is recorded and it could be played.
    """

    total: float
    success: float | None
    length: int
    failed: str | None = None
    last_success: float | None = None
    replays: int = field(default=0, compare=False)
    episode: Demonstration | None = field(default=None, compare=False)

    def plain(self) -> dict[str, Any]:
        """As JSON can write it, exactly."""
        return plain(asdict(self))

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """From what `plain` gave."""
        episode = values.get("episode")
        return cls(**{**values, "episode": None if episode is None else Demonstration.restored(episode)})


Rollout = Callable[[Sequence[Row]], list[Outcome]]
OnOutcomes = Callable[[Sequence[Row], Sequence[Outcome]], object]


def rollout(
    policy: Policy,
    rows: Sequence[Row],
    width: int = 8,
    environments: Environments | None = None,
    watch: MutableSequence[float] | None = None,
) -> list[Outcome]:
    """Play all rows, in blocks of a fixed width.

    Short blocks are padded with inert rows and one torch thread is used on the CPU, so that for one width an outcome
    depends on its own row alone: not on its neighbours, their number, or who plays it.

    Args:
        policy: on any device.
        rows: any number, of any tasks with equal observation and action sizes.
        width: rows in a forward pass.
        environments: to borrow from, where more is to be played later; None: they are built here and closed at the end.
        watch: `(2,)`, for whoever looks on from another process: number of the row, within its block, whose environment
            is at work, and since when, by `time.monotonic`; 0 while none is.

    Returns:
        An outcome for every row, in order; none is dropped for finishing late.
    """
    lender = environments or Environments(width)
    try:
        with one_thread():
            return [
                outcome
                for first in range(0, len(rows), width)
                for outcome in _play(
                    policy, rows[first : first + width], width, lender, [0.0, 0.0] if watch is None else watch
                )
            ]
    finally:
        if environments is None:
            lender.close()


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


def _play(
    policy: Policy, rows: Sequence[Row], width: int, environments: Environments, watch: MutableSequence[float]
) -> list[Outcome]:
    padded = [*rows, *[rows[0]] * (width - len(rows))]
    policy.reset(
        Prompt.cat([row.prompt for row in padded]),
        np.array([row.task.target_return for row in padded]),
        np.array([row.task.return_scale for row in padded]),
    )
    observations = np.zeros((width, policy.model.state_mean.numel()))
    rewards = np.zeros(width)
    episodes = [_Episode(row, environments, observations, rewards, number, watch) for number, row in enumerate(rows)]
    nothing = np.zeros(len(policy.model.action_mid), np.float32)  # of an environment that could not be built
    low, high = (
        np.stack([np.broadcast_to(bound, len(nothing)) for bound in bounds])  # in the type of the environments' own
        for bounds in zip(*[episode.bounds or (nothing, nothing) for episode in episodes], strict=True)
    )
    _fail_what_is_not_finite(episodes, observations, rewards)
    first = True
    # Checks and clipping are done for all rows at once: one by one they would cost as much as a fast simulator's step.
    while running := [episode for episode in episodes if episode.running]:
        actions = policy.act(observations, None if first else rewards)[: len(rows)]
        first = False
        sound, clipped = np.isfinite(actions).all(axis=1), np.clip(actions, low, high)
        for episode in running:
            if sound[episode.number]:
                watch[0], watch[1] = episode.number, time.monotonic()
                episode.step(clipped[episode.number])
            else:
                episode.fail(FloatingPointError(f"the policy's action is {actions[episode.number]}"))
        watch[1] = 0.0
        _fail_what_is_not_finite(episodes, observations, rewards)
    return [episode.close() for episode in episodes]


def _fail_what_is_not_finite(episodes: "Sequence[_Episode]", observations: np.ndarray, rewards: np.ndarray) -> None:
    for number in np.flatnonzero(~(np.isfinite(observations).all(axis=1) & np.isfinite(rewards))):
        episodes[int(number)].fail(FloatingPointError("observation or reward is not finite"))


class _Episode:
    """One environment being played; what it raises becomes a failed outcome, and the other rows go on.

    It writes what it sees into its row of `observations` and `rewards`.
    """

    def __init__(
        self,
        row: Row,
        environments: Environments,
        observations: np.ndarray,
        rewards: np.ndarray,
        number: int,
        watch: MutableSequence[float],
    ):
        self.row, self.environments, self.observations, self.rewards, self.number = (
            row,
            environments,
            observations,
            rewards,
            number,
        )
        self.total, self.length = 0.0, 0
        self.failed: str | None = None
        self.success: float | None = None
        self.last_success: float | None = None
        self.horizon = row.task.horizon or 0
        self.running, self.ended = True, False
        self.steps: list[tuple[np.ndarray, np.ndarray, float]] = []  # seen, done and received, where it is recorded
        self.env: gym.Env | None = None
        watch[0], watch[1] = number, time.monotonic()
        try:
            self.env = environments.lend(row.task)
            observations[number], _ = self.env.reset(seed=row.seed)
        except Exception as error:  # whatever a simulator raises is the outcome of this row
            self.fail(error)
        watch[1] = 0.0

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lowest and highest action; None where there is no environment."""
        space: Any = None if self.env is None else self.env.action_space
        return None if space is None else (space.low, space.high)

    def step(self, action: np.ndarray) -> None:
        """Act once."""
        assert self.env is not None
        seen = self.observations[self.number].copy() if self.row.recorded else None
        try:
            typed = as_type(action, self.env.action_space)
            self.observations[self.number], reward, terminated, truncated, info = self.env.step(typed)
            self.rewards[self.number] = reward
            self._see(info)
        except Exception as error:  # as above
            self.fail(error)
            return
        if seen is not None:
            self.steps.append((seen, action.astype(np.float32), float(reward)))
        self.total += float(reward)
        self.length += 1
        self.ended = terminated
        self.running = not (terminated or truncated) and self.length < self.horizon

    def _see(self, info: dict) -> None:
        self.last_success = of_step(info)
        if self.last_success is not None:
            self.success = max(self.success or 0.0, self.last_success)

    def fail(self, error: Exception) -> None:
        """End the episode without a result."""
        self.running, self.failed = False, f"{type(error).__name__}: {error}"
        self.observations[self.number], self.rewards[self.number] = 0.0, 0.0

    def close(self) -> Outcome:
        """What came of it; the environment goes back, unless it raised."""
        if self.env is not None:
            self.environments.take_back(self.row.task, self.env, sound=self.failed is None)
        episode = None
        if self.steps and self.failed is None:
            states, actions, rewards = (np.array(part) for part in zip(*self.steps, strict=True))
            episode = Demonstration(states, actions, actions, rewards, self.success, bool(self.ended))
        return Outcome(self.total, self.success, self.length, self.failed, self.last_success, episode=episode)
