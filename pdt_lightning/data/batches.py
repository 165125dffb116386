"""Which windows and prompts make up a batch: pure functions of (seed, update, position).

There is no Python loop over samples.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.segments import Prompt, prompts_of
from pdt_lightning.data.windows import Steps, context_windows


class Batch(NamedTuple):
    """`B` context windows, a prompt for each, and what to learn.

    Args:
        context: `B` rows of `T` steps: windows of `K`, or chunks.
        prompt: `B` prompts of `J·H` steps.
        labels: `(B, T, A)` float32.
        task: list of `B` task indices.
        steps: valid context steps of the global batch, a rank's share of them. A loss summed over the rank's valid
            steps and divided by this averages over the ranks to that of the global batch, however unevenly padding
            falls.
    """

    context: Steps
    prompt: Prompt
    labels: Tensor
    task: list[int]
    steps: float


class Pool:
    """Episodes to draw windows from, with the counts that turn uniform numbers into draws.

    Args:
        episodes: all there are.
        members: `(M,)` those to draw from, rising.
        segment_steps: `H`.
        prompt_sampling: `uniform`: over all windows of a task's episodes; `tail`: the last steps of a uniform episode.
    """

    def __init__(self, episodes: Episodes, members: np.ndarray, segment_steps: int, prompt_sampling: str = "uniform"):
        self.episodes = episodes
        self.members = members
        self.segment_steps = segment_steps
        self.prompt_sampling = prompt_sampling
        # (tasks + 1,) of each task.
        first = np.searchsorted(episodes.task[members], np.arange(len(episodes.scales) + 1))
        self.first_member, self.last_member = first[:-1], first[1:]
        lengths = episodes.lengths_of(members)
        self.step_offsets = np.concatenate([[0], lengths.cumsum()])
        # Where segments come from, what is drawn is a window; with `tail` there is one window an episode.
        windows = (
            np.maximum(lengths - segment_steps + 1, 0) if prompt_sampling == "uniform" else np.ones(len(members), int)
        )
        self.window_offsets = np.concatenate([[0], windows.cumsum()])

    def contexts(self, u: np.ndarray, task: np.ndarray, within: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Context windows: trajectory by length, start uniform.

        Args:
            u: `(B,)` uniform in [0, 1).
            task: `(B,)`.
            within: start so that as many steps follow, as far as the episode has them; None: anywhere, as published.

        Returns:
            `(B,)` episodes and `(B,)` starts.
        """
        low, high = self.step_offsets[self.first_member[task]], self.step_offsets[self.last_member[task]]
        step = low + (u * (high - low)).astype(np.int64)
        member = np.searchsorted(self.step_offsets, step, side="right") - 1
        episode, start = self.members[member], step - self.step_offsets[member]
        if within is not None:
            lengths = self.episodes.lengths_of(episode)
            start = start * (np.maximum(lengths - within, 0) + 1) // lengths
        return episode, start

    def prompts(self, u: np.ndarray, task: np.ndarray, without: np.ndarray | None = None) -> Prompt:
        """Prompts of random segments.

        Args:
            u: `(B, J)` uniform in [0, 1).
            task: `(B,)`.
            without: `(B,)` an episode that the prompt may not come from, its window's own, unless the task has no
                other.
        """
        low, high = self.window_offsets[self.first_member[task]], self.window_offsets[self.last_member[task]]
        banned_low, banned = high, np.zeros_like(high)
        if without is not None:
            own = np.searchsorted(self.members, without)
            banned_low, banned = self.window_offsets[own], self.window_offsets[own + 1] - self.window_offsets[own]
            banned = np.where(banned < high - low, banned, 0)  # a task with one demonstration has no other
        window = low[:, None] + (u * (high - low - banned)[:, None]).astype(np.int64)
        window += np.where(window >= banned_low[:, None], banned[:, None], 0)
        member = np.searchsorted(self.window_offsets, window, side="right") - 1
        episode = self.members[member]
        if self.prompt_sampling == "uniform":
            start = window - self.window_offsets[member]
        else:  # the public code's choice, which stops one step short of the end
            start = np.maximum(self.episodes.lengths_of(episode) - self.segment_steps - 1, 0)
        return prompts_of(self.episodes, episode, start, self.segment_steps)


def draw(
    contexts: Pool,
    prompts: Pool,
    u: np.ndarray,
    task: np.ndarray,
    context_steps: int,
    within_episodes: bool = False,
    own_episode_banned: bool = True,
    rank: int = 0,
    world_size: int = 1,
) -> Batch:
    """A rank's share of the batch that uniform numbers make.

    Args:
        contexts: where context windows come from.
        prompts: where prompts come from.
        u: `(B, 1 + J)` uniform in [0, 1).
        task: `(B,)`.
        context_steps: steps of a row; published: `K`.
        within_episodes: whether rows begin early enough to be full, as far as episodes are long enough; published: not.
        own_episode_banned: whether both pools are the same, so that a prompt might come from its context's own episode.
        rank: takes the rank-th part of the rows.
        world_size: number of parts.
    """
    episode, start = contexts.contexts(u[:, 0], task, context_steps if within_episodes else None)
    steps = float(np.minimum(context_steps, contexts.episodes.lengths_of(episode) - start).sum()) / world_size
    mine = slice(rank * len(task) // world_size, (rank + 1) * len(task) // world_size)
    u, task, episode, start = u[mine], task[mine], episode[mine], start[mine]
    context, labels = context_windows(contexts.episodes, episode, start, context_steps)
    prompt = prompts.prompts(u[:, 1:], task, episode if own_episode_banned else None)
    return Batch(context, prompt, labels, task.tolist(), steps)
