"""What a rollout remembers of its past, for each form of attention.

Both take the tokens of a new step and give the hidden state at the last of them: exactly that of one pass over the last `K` steps,
or in window form over the whole episode. Shapes as in `transformer.py`.
"""

from typing import Protocol

import torch
from torch import Tensor

from pdt_lightning.model.transformer import CausalTransformer, Prefix, Window


class Memory(Protocol):
    """The past of `B` episodes that are played in step."""

    def extend(self, tokens: Tensor) -> Tensor:
        """`(B, D)`: the hidden state at the last of `tokens (B, T, D)`, which come after all before them."""


class Recent:
    """The published form: the tokens of the last `K` steps, gone through again at each step behind the prompt's prefix.

    Args:
        transformer: frozen.
        prefix: of the prompts.
        tokens: how many the context holds at most.
    """

    def __init__(self, transformer: CausalTransformer, prefix: Prefix, tokens: int):
        self.transformer, self.prefix, self.limit = transformer, prefix, tokens
        self._tokens: Tensor | None = None

    def extend(self, tokens: Tensor) -> Tensor:
        """Forget what is older than `K` steps, and compute the rest anew, since its oldest token sees less now."""
        self._tokens = tokens if self._tokens is None else torch.cat([self._tokens, tokens], dim=1)[:, -self.limit :]
        return self.transformer(self._tokens, prefix=self.prefix, wanted=slice(-1, None))[:, 0]


class Rolling:
    """The window form: keys and values of the last `K` steps in a ring behind those of the prompt; only new tokens are computed.

    Args:
        transformer: frozen.
        prefix: of the prompts.
        window: how far back a token attends.
    """

    def __init__(self, transformer: CausalTransformer, prefix: Prefix, window: Window):
        self.transformer, self.window = transformer, window
        key = prefix.layers[0][0]
        self.before = key.shape[2]
        # One step more than the window: a step's action comes with the next step, when its own oldest step is still seen.
        self.slots = (window.steps + 1) * window.tokens_per_step
        self.layers = [tuple(torch.nn.functional.pad(y, (0, 0, 0, self.slots)) for y in layer) for layer in prefix.layers]
        self.count = 0
        # Number of the token in each slot; a number never reached is never attended to.
        self.number = torch.full((self.slots,), 2**60, device=key.device)
        self.forbidden = None if prefix.valid is None else ~prefix.valid[:, None, None]  # (B, 1, 1, P)

    def extend(self, tokens: Tensor) -> Tensor:
        """Compute the new tokens alone: a step's, behind the action of the step before."""
        count = tokens.shape[1]
        new = torch.arange(self.count, self.count + count, device=tokens.device)
        first = (self.count + 1) % self.slots  # an action and what follows it stand side by side, also where the ring closes
        self.count += count
        self.number[first : first + count] = new
        own = slice(self.before + first, self.before + first + count)
        per_step, query = self.window.tokens_per_step, new[:, None]
        outside = (self.number > query) | (query // per_step - self.number // per_step >= self.window.steps)
        x = tokens.to(self.transformer.norm.weight.dtype)
        for number, (block, (keys, values)) in enumerate(zip(self.transformer.blocks, self.layers, strict=True)):
            query, key, value = block.before(x)  # type: ignore[operator]
            keys[:, :, own], values[:, :, own] = key, value
            if number == len(self.layers) - 1:
                x, query, outside = x[:, -1:], query[:, :, -1:], outside[-1:]
            scores = query @ keys.transpose(-1, -2)
            scores[..., self.before :].masked_fill_(outside, float("-inf"))
            if self.forbidden is not None:
                scores[..., : self.before].masked_fill_(self.forbidden, float("-inf"))
            x = block.after(x, scores.softmax(dim=-1) @ values)  # type: ignore[operator]
        return self.transformer.norm(x)[:, -1]
