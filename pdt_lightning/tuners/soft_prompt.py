"""A soft prompt: its values are improved by gradient through the frozen transformer, without a rollout.

It learns to predict the task's best demonstrations, from the segments that do so with the least error. A few windows of
them are soon learned by heart, so that three things hold it back, as in PromptSRC: on other demonstrations its
predictions have to agree with those under the segments as they are, what is recommended is an average over all steps,
and few steps are made.

Source: Khattak et al. 2023 (PromptSRC, arXiv 2307.06948), there of soft words and images.
"""

import copy
from typing import Any

import numpy as np
import torch

from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import NonNegativeFloat, PositiveFloat, PositiveInt
from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.data.windows import Steps, context_windows
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.features import made_once
from pdt_lightning.tuners.generated import Enlarged
from pdt_lightning.tuners.prior import from_demonstrations
from pdt_lightning.tuners.references import MOST, STEPS, best_demonstrations, spread_windows
from pdt_lightning.tuners.spaces import Choice, Values
from pdt_lightning.tuners.values import ValueTuner, gaussian_weights

ADAM_STEPS, RATE, AGREEMENT = 100, 0.03, 1.0


def learned_and_held(episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the demonstrations to learn from, and of those to agree on.

    These are the best that are left, or where all are equally good every second one; a single demonstration is both.
    """
    best = best_demonstrations(episodes)
    ranked = episodes.ranked()
    others = ranked[~np.isin(ranked, best)][:MOST]
    if len(others):
        return best, others
    return (best[::2], best[1::2]) if len(best) > 1 else (best, best)


@torch.inference_mode(False)
@torch.enable_grad()
def improved(
    first: Prompt, segments: Segments, policy: Policy, steps: int, rate: float, agreement: float
) -> np.ndarray:
    """The average of the values after each step of Adam.

    The loss is the mean error of the predicted actions in windows of the best demonstrations, and `agreement` times
    their distance from those under the first prompt, which is measured alike, in windows of others.

    Args:
        first: prompt to start from.
        segments: whose demonstrations are learned.
        policy: whose frozen transformer is asked; it stays as it is.
        steps: of Adam, each on all windows.
        rate: of Adam, in normalised units.
        agreement: weight.

    Returns:
        `(n,)` float64 point of `Values` around the first prompt.
    """
    # A copy, since what was made in inference mode cannot take part in gradients.
    model = copy.deepcopy(policy.model).float().eval().requires_grad_(False)
    device, folded = model.state_mean.device, model.folded()
    space = Values(Prompt(*(part.clone() for part in vars(first).values())), "", model)
    length = min(STEPS, policy.context_steps)
    of_learned, of_held = (
        context_windows(segments.episodes, *spread_windows(segments.episodes, numbers, length), length)
        for numbers in learned_and_held(segments.episodes)
    )
    contexts = Steps.cat([of_learned[0], of_held[0]]).to(device)
    held = slice(len(of_learned[0]), None)
    shares = contexts.mask.float() / contexts.mask.sum(dim=1, keepdim=True)  # of each step in its window's error,
    shares[: held.start] /= len(of_learned[0])  # and in the loss
    shares[held] *= agreement / len(of_held[0])

    start = space.start
    values = torch.from_numpy(start.copy()).requires_grad_()
    labels = torch.cat([of_learned[1], of_held[1]]).to(device)
    with torch.no_grad():
        frozen = model.answers(space.of_tensor(values).to(device), contexts[held], folded)[0]
        labels[held] = model.actions.as_labels(frozen)
    optimizer, moved = torch.optim.Adam([values], rate), np.zeros_like(start)
    for weight in gaussian_weights(steps):
        predicted = model.answers(space.of_tensor(values).to(device), contexts, folded)[0]
        optimizer.zero_grad()
        (model.errors(predicted, labels) * shares).sum().backward()
        optimizer.step()
        moved += weight * (values.detach().numpy() - start)
    return start + moved


def soft_point(
    segments: Segments, policy: Policy, slots: int, steps: int, rate: float, agreement: float
) -> tuple[Prompt, np.ndarray]:
    """The first prompt, of least error, and the point to which `improved` brings it; made once for all that ask."""

    def made() -> tuple[Prompt, np.ndarray]:
        first = segments.gather(np.array([from_demonstrations(segments, policy, slots).best]))
        return first, improved(first, segments, policy, steps, rate, agreement)

    found: tuple[Prompt, np.ndarray] = made_once(("soft", slots, steps, rate, agreement), segments, policy, made)
    return found


def with_soft_prompt(segments: Segments, policy: Policy, slots: int) -> tuple[Enlarged, Choice]:
    """Segments with the parts of the soft prompt of `SoftPrompt`'s defaults after them, and the choice of these parts.

    Args:
        segments: a task's own, or these and generated ones; the soft prompt starts from the best of them.
        policy: whose frozen transformer is asked.
        slots: `J`.
    """

    def made() -> Enlarged:
        first, point = soft_point(segments, policy, slots, ADAM_STEPS, RATE, AGREEMENT)
        whole = Values(first, "", policy.model).prompt(point)
        parts = Prompt(
            **{name: y.unflatten(1, (slots, segments.steps)).flatten(0, 1) for name, y in vars(whole).items()}
        )
        known = segments.generated if isinstance(segments, Enlarged) else parts[:0]
        own = segments.own if isinstance(segments, Enlarged) else segments
        return Enlarged(own, Prompt.cat([known, parts]), slots)

    arms: Enlarged = made_once(("with soft prompt", slots), segments, policy, made)
    return arms, tuple(range(len(arms) - slots, len(arms)))


class SoftPrompt(ValueTuner):
    """Asks for nothing, and recommends values that were improved on the demonstrations.

    Args:
        segments: where the first prompt is taken from: those of least error, as of `DemonstrationLoss`.
        budget: ignored.
        rng: its only source of randomness; nothing is left to chance.
        slots: `J`.
        policy: whose frozen transformer is asked.
        steps: of Adam.
        rate: of Adam, in normalised units.
        agreement: weight of agreeing with the first prompt's predictions; 0: soft-prompt tuning without that.
    """

    def __init__(
        self,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        policy: Policy,
        steps: PositiveInt = ADAM_STEPS,
        rate: PositiveFloat = RATE,
        agreement: NonNegativeFloat = AGREEMENT,
    ):
        super().__init__(segments, 0, rng, slots, policy)
        self._begin(from_demonstrations(segments, policy, slots).best)
        _, self.tuned = soft_point(segments, policy, slots, steps, rate, agreement)

    def _propose(self, n: int) -> list[np.ndarray]:
        return []

    def _best(self) -> tuple[np.ndarray, float]:
        return self.tuned, float("nan")

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and the values that it recommends."""
        return {**super().state_dict(), "tuned": plain(self.tuned)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self.tuned = self.space.restored(state["tuned"])
