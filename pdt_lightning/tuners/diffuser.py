"""Prompts of generated segments, chosen without a rollout: Prompt Diffuser."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import NonNegativeFloat, PositiveInt
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.generated import COUNT, Enlarged, enlarged
from pdt_lightning.tuners.references import References, least_loss
from pdt_lightning.tuners.rollout_free import RolloutFree
from pdt_lightning.tuners.spaces import Choices


class Diffuser(RolloutFree):
    """The generated segments that let the frozen transformer predict the best demonstrations with the least error.

    They are found slot by slot, as `DemonstrationLoss` finds them among the task's own.

    Args:
        segments: the task's own, which know those of the training tasks.
        budget: ignored.
        rng: its only source of randomness, of what is drawn.
        slots: `J`.
        policy: whose transformer guides what is generated, and is asked.
        count: segments that are generated.
        guidance: weight of the transformer's error on the demonstrations as the denoiser is fitted to them; 0: none.

    Source: Hu et al. 2024 (Prompt Diffuser, arXiv 2411.01168); see `generated.py`.
    """

    def __init__(
        self,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        policy: Policy,
        count: PositiveInt = COUNT,
        guidance: NonNegativeFloat = 1.0,
    ):
        super().__init__(segments, budget, rng, slots)
        arms, self._losses = enlarged(segments, policy, slots, count, guidance, rng)
        self._own = segments
        self._begin(arms)
        references, losses = References(arms, policy), np.full(len(arms), np.inf)
        numbers = np.arange(arms.demonstrated, len(arms))
        losses[numbers] = references.losses(np.repeat(numbers[:, None], slots, axis=1))
        self.pick = least_loss(references, losses, slots)

    def _begin(self, arms: Enlarged) -> None:
        self.segments, self.space, self._generated = arms, Choices(arms, self.slots), arms.generated

    def curves(self) -> Mapping[str, np.ndarray]:
        """The denoiser's losses, on all tasks and on this one, and that of guidance."""
        return self._losses

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and what was generated."""
        return {
            **super().state_dict(),
            "generated": {name: plain(y.numpy()) for name, y in vars(self._generated).items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        types = {name: values.dtype for name, values in vars(self._generated).items()}
        generated = {name: torch.tensor(values, dtype=types[name]) for name, values in state["generated"].items()}
        self._begin(Enlarged(self._own, Prompt(**generated)))
        super().load_state_dict(state)
