"""What acts: a frozen model with a prompt a row; it owns the prompts' cache and the recent past."""

import numpy as np
import torch
from torch import Tensor

from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import Steps
from pdt_lightning.model.pdt import PromptDecisionTransformer


class Policy:
    """Acts in `B` episodes at once, each with a prompt of its own.

    Args:
        model: the transformer; put into evaluation mode by the caller.
        context_steps: `K`.
    """

    def __init__(self, model: PromptDecisionTransformer, context_steps: int):
        self.model = model
        self.context_steps = context_steps

    @torch.inference_mode()
    def reset(self, prompts: Prompt, targets: np.ndarray, scales: np.ndarray) -> None:
        """Start `B` episodes.

        Args:
            prompts: `B` prompts.
            targets: `(B,)` returns to ask for, in the environments' unit.
            scales: `(B,)` return scale of each row's task.
        """
        device, rows, steps = self.model.state_mean.device, len(prompts), self.context_steps
        self._prefix = self.model.prefix(prompts.to(device))
        self._scales = torch.as_tensor(np.asarray(scales), dtype=torch.float32, device=device)
        self._next_return = torch.as_tensor(np.asarray(targets), dtype=torch.float32, device=device) / self._scales
        self._time = 0
        self._past = Steps(
            returns_to_go=torch.zeros(rows, steps, 1, device=device),
            states=torch.zeros(rows, steps, self.model.state_mean.numel(), device=device),
            actions=torch.zeros(rows, steps, self.model.action_mid.numel(), device=device),
            timesteps=torch.zeros(rows, steps, dtype=torch.long, device=device),
            mask=torch.zeros(rows, steps, dtype=torch.bool, device=device),
        )

    @torch.inference_mode()
    def act(self, observations: np.ndarray, rewards: np.ndarray | None = None) -> np.ndarray:
        """Actions for the next step.

        Args:
            observations: `(B, S)`.
            rewards: `(B,)` received since the last call; None at the first.

        Returns:
            `(B, A)` float32.
        """
        past, device = self._past, self._scales.device
        if rewards is not None:
            self._next_return = (
                self._next_return - torch.as_tensor(np.asarray(rewards), dtype=torch.float32, device=device) / self._scales
            )
        _push(past.returns_to_go, self._next_return[:, None])
        _push(past.states, torch.as_tensor(np.asarray(observations), dtype=torch.float32, device=device))
        _push(past.actions, torch.zeros_like(past.actions[:, 0]))
        _push(past.timesteps, torch.full_like(past.timesteps[:, 0], self._time))
        _push(past.mask, torch.ones_like(past.mask[:, 0]))
        self._time += 1
        actions = self.model.act(past, self._prefix)
        past.actions[:, -1] = actions
        return actions.cpu().numpy()

    @torch.inference_mode()
    def encode(self, segments: Prompt, block: int = 256) -> np.ndarray:
        """`(N, D)` float64: what the model makes of single segments, encoded in blocks."""
        device = self.model.state_mean.device
        parts = [self.model.encode(segments[first : first + block].to(device)) for first in range(0, len(segments), block)]
        return torch.cat(parts).double().cpu().numpy()


def _push(history: Tensor, newest: Tensor) -> None:
    history.copy_(history.roll(-1, dims=1))
    history[:, -1] = newest
