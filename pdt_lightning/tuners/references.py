"""What demonstrations tell of a prompt before any rollout.

It is whether the frozen transformer, prompted by it, predicts the others.

A prompt that tells the task lets it do so, and one that tells nothing does not. The error is taken over short windows
of the best demonstrations, where the context alone does not tell the task yet and a forward pass is cheap.
"""

import numpy as np

from pdt_lightning.core.seeding import generator
from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.segments import Segments
from pdt_lightning.data.windows import context_windows
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Choice
from pdt_lightning.tuners.features import smoothed

MOST = 5  # demonstrations that set the standard
MARGIN = 0.05  # of the task's return scale, by which they may fall short of the best one
WINDOWS = 60  # in all; more change the order of prompts little
STEPS = 3  # of a window
SWEEPS = 2  # through the slots of a prompt, each time with all others as they are
FINALISTS = 16  # segments that are tried in a slot
PROMPTS = 16  # random ones, whose actions are compared


def best_demonstrations(episodes: Episodes) -> np.ndarray:
    """Numbers of the demonstrations that set the standard, the best first.

    Random and failed ones are left out where there are others.

    Those of highest success, and of these the ones whose return is near the best, `MOST` of them at most.
    """
    order = episodes.ranked()
    successes, returns = np.nan_to_num(episodes.index.successes)[order], episodes.index.returns[order]
    good = (successes == successes[0]) & (returns >= returns[0] - MARGIN * float(episodes.scales[0]))
    return order[good][:MOST]


def spread_windows(episodes: Episodes, demonstrations: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """About `WINDOWS` windows of `steps` steps, spread evenly over demonstrations.

    Returns:
        `(W,)` demonstration and `(W,)` first step of each.
    """
    spread = [
        np.linspace(0, max(0, length - steps), -(-WINDOWS // len(demonstrations)))
        for length in episodes.lengths_of(demonstrations)
    ]
    places = [np.unique(starts.round().astype(np.int64)) for starts in spread]
    return np.repeat(demonstrations, [len(starts) for starts in places]), np.concatenate(places)


class References:
    """Windows of a task's best demonstrations, on which prompts are compared.

    Args:
        segments: the arms, with their demonstrations.
        policy: whose frozen transformer is asked.
    """

    def __init__(self, segments: Segments, policy: Policy):
        self.segments, self.policy = segments, policy
        episodes, steps = segments.episodes, min(STEPS, policy.context_steps)
        # (W,) episode of each window and its first step
        self.episode, self.start = spread_windows(episodes, best_demonstrations(episodes), steps)
        self._contexts, self._labels = context_windows(episodes, self.episode, self.start, steps)
        self._steps = steps
        self._offsets: np.ndarray | None = None

    def losses(self, choices: np.ndarray) -> np.ndarray:
        """Error of the predicted actions, prompted by each of `B` prompts; less is better.

        A window of a demonstration that the prompt was cut from is left out, or where there is no other one, the steps
        that the prompt shows. Windows differ in how hard they are, so that each counts by how far it is from its mean
        over the prompts that were asked about first.

        Args:
            choices: `(B, J)` segment of each slot.

        Returns:
            `(B,)`: see `Policy.errors`; mean over windows.
        """
        errors = self.policy.errors(self.segments.gather(choices), self._contexts, self._labels)
        errors = np.where(self._own(choices), np.nan, errors)
        if self._offsets is None:
            self._offsets = np.nan_to_num(
                np.nanmean(np.vstack([errors, np.full_like(errors[:1], np.nanmean(errors))]), axis=0)
            )
        return np.nanmean(errors - self._offsets, axis=1) + self._offsets.mean()

    def sensitivity(self, slots: int) -> float:
        """How much the actions on the windows depend on which of the task's prompts is given; see `prompt_sensitivity`.

        The prompts are random and always the same ones, so that it follows from transformer and demonstrations alone.

        Args:
            slots: `J`.
        """
        choices = generator(0, "prompt sensitivity").integers(len(self.segments), size=(PROMPTS, slots))
        return self.policy.sensitivity(self.segments.gather(choices), self._contexts)

    def _own(self, choices: np.ndarray) -> np.ndarray:
        """`(B, W)` whether a window says nothing of a prompt, since the prompt shows it."""
        episode, start = self.segments.episode[choices][:, :, None], self.segments.start[choices][:, :, None]
        whole = (episode == self.episode).any(axis=1)
        apart = (self.start + self._steps <= start) | (self.start >= start + self.segments.steps)
        shown = ((episode == self.episode) & ~apart).any(axis=1)
        own = np.where(whole.all(axis=1, keepdims=True), shown, whole)
        return own & ~own.all(axis=1, keepdims=True)  # one that shows everything is compared on everything

    def of_segments(self, slots: int) -> np.ndarray:
        """Loss of every segment, in all slots of a prompt at once.

        Neighbouring segments share most of their steps: a quarter of a segment apart they are looked at, then those
        around the best tenth; in between the loss is interpolated. All is smoothed over neighbours, of which one alone
        may be lucky.

        Args:
            slots: `J`.

        Returns:
            `(N,)`.
        """
        segments, count = self.segments, len(self.segments)
        stride = max(1, segments.steps // 4)
        lasts = np.append(segments.start[1:] == 0, True)
        numbers = np.flatnonzero((segments.start % stride == 0) | lasts)
        losses = self.losses(np.repeat(numbers[:, None], slots, axis=1))
        known = np.full(count, np.nan)
        known[numbers] = losses
        if stride > 1:
            best = numbers[np.argsort(losses, kind="stable")[: max(1, len(numbers) // 10)]]
            around = (best[:, None] + np.arange(1 - stride, stride)).clip(0, count - 1)
            same = segments.episode[around] == segments.episode[best][:, None]
            around = np.unique(around[same])
            around = around[np.isnan(known[around])]
            if len(around):
                known[around] = self.losses(np.repeat(around[:, None], slots, axis=1))
        looked = np.flatnonzero(~np.isnan(known))  # the first and last segment of every demonstration among them
        return smoothed(np.interp(np.arange(count), looked, known[looked]), segments, segments.steps / 4)


def least_loss(references: References, losses: np.ndarray, slots: int) -> Choice:
    """The prompt of least loss that is found slot by slot.

    Args:
        references: of the task.
        losses: `(N,)` of every segment in all slots at once; of one that is no candidate infinite.
        slots: `J`.
    """
    finalists = np.argsort(losses, kind="stable")[: min(FINALISTS, np.isfinite(losses).sum())]
    best = np.full(slots, finalists[0])
    for slot in list(range(slots)) * SWEEPS if slots > 1 else ():
        tried = np.repeat(best[None], len(finalists), axis=0)
        tried[:, slot] = finalists
        tried = np.vstack([best, tried])
        best = tried[references.losses(tried).argmin()]
    return tuple(best.tolist())
