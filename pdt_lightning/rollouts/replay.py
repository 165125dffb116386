"""Recorded actions played again by our rollout: what tells whether an environment is the one that was recorded."""

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.rollout import Outcome, Row, rollout
from pdt_lightning.tasks.base import Task


class Replay:
    """Acts like a `Policy` that knows its actions beforehand.

    Args:
        actions: `(T, A)` of each row; after its end a row does nothing that counts.
        state_size: `S`.

    Attributes:
        first: `(B, S)` observations of the first step.
    """

    def __init__(self, actions: Sequence[np.ndarray], state_size: int):
        self.actions = actions
        self.model = SimpleNamespace(state_mean=torch.zeros(state_size), action_mid=torch.zeros(actions[0].shape[1]))
        self.first = np.zeros((len(actions), state_size))
        self.time = 0

    def reset(self, prompts: Prompt, targets: np.ndarray, scales: np.ndarray) -> None:
        """Start all rows."""
        self.time = 0

    def act(self, observations: np.ndarray, rewards: np.ndarray | None = None) -> np.ndarray:
        """`(B, A)`: the next action of each row."""
        if self.time == 0:
            self.first = observations.copy()
        self.time += 1
        return np.stack([own[min(self.time, len(own)) - 1] for own in self.actions])


def replayed(
    task: Task, actions: Sequence[np.ndarray], seeds: Sequence[int], state_size: int
) -> tuple[list[Outcome], np.ndarray]:
    """Play recorded actions in a task's environment.

    Args:
        task: whose horizon ends the episodes.
        actions: `(T, A)` of each episode.
        seeds: of the episodes.
        state_size: `S`.

    Returns:
        An outcome for each, over its own `T` steps or up to the horizon, and `(E, S)`: what was seen first.
    """
    sizes = {"returns_to_go": 1, "states": state_size, "actions": actions[0].shape[1]}
    prompt = Prompt(
        **{name: torch.zeros(1, 1, size) for name, size in sizes.items()},
        timesteps=torch.zeros(1, 1, dtype=torch.int64),
        mask=torch.ones(1, 1, dtype=torch.bool),
    )
    outcomes, first = [], []
    for own, seed in zip(actions, seeds, strict=True):
        policy: Any = Replay([own], state_size)
        as_long = dataclasses.replace(
            task, horizon=min(len(own), task.horizon or len(own)), target_return=0.0, return_scale=1.0
        )
        outcomes += rollout(policy, [Row(as_long, prompt, seed)], width=1)
        first.append(policy.first[0])
    return outcomes, np.array(first)
