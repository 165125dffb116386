"""What a rollout remembers of its past, for each form of attention.

Both take the tokens of a new step and return the hidden state at the last of them. It equals the result of one pass
over the last `K` steps or, in window form, over the whole episode; with `prompt_tokens`, of prompts with as many
tokens, which `compressed.py` has merged. Shapes as in `transformer.py`.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from pdt_lightning.model.compressed import log_counts, means
from pdt_lightning.model.folded import FoldedTransformer, missing
from pdt_lightning.model.transformer import CausalTransformer, Prefix, Window


class Memory(Protocol):
    """The past of `B` episodes that are played in step."""

    def extend(self, tokens: Tensor) -> Tensor:
        """`(B, D)`: the hidden state at the last of `tokens (B, T, D)`, which come after all before them."""


class Recent:
    """The published form: the tokens of the last `K` steps, gone through again at each step after the prompt's prefix.

    Args:
        transformer: frozen.
        prompts: `(B, P, D)` embedded tokens.
        valid: `(B, P)` bool, False on padding; None: no padding.
        tokens: how many the context holds at most.
        members: `groups` of the prompts' tokens to merge; None: each stands for itself.
    """

    def __init__(
        self,
        transformer: CausalTransformer,
        prompts: Tensor,
        valid: Tensor | None,
        tokens: int,
        members: Tensor | None = None,
    ):
        prefix = transformer.prefix(prompts, valid)
        if members is not None:
            layers = [(means(members, keys), means(members, values)) for keys, values in prefix.layers]
            prefix = Prefix(layers, None, log_counts(members))
        self.transformer, self.prefix, self.limit = transformer, prefix, tokens
        self._tokens: Tensor | None = None

    def extend(self, tokens: Tensor) -> Tensor:
        """Forget what is older than `K` steps, and compute the rest anew, since its oldest token sees less now."""
        self._tokens = tokens if self._tokens is None else torch.cat([self._tokens, tokens], dim=1)[:, -self.limit :]
        return self.transformer(self._tokens, prefix=self.prefix, wanted=slice(-1, None))[:, 0]


class Rolling:
    """The window form: the last `K` steps in a ring after the prompt, and only new tokens are computed.

    What is remembered of a token is its normed input to each block.

    Args:
        transformer: frozen.
        prompts: `(B, P, D)` embedded tokens.
        valid: `(B, P)` bool, False on padding; None: no padding.
        window: how far back a token attends.
        members: `groups` of the prompts' tokens to merge; None: each stands for itself.
    """

    def __init__(
        self,
        transformer: FoldedTransformer,
        prompts: Tensor,
        valid: Tensor | None,
        window: Window,
        members: Tensor | None = None,
    ):
        self.folded, self.window = transformer, window
        # One step more than the window: an action is added together with the next step, and it still attends to the
        # oldest step of its own window.
        self.capacity = (window.steps + 1) * window.tokens_per_step
        layers = [inputs for _, inputs in transformer.layers(prompts, transformer.causal(prompts.shape[1], valid))]
        if members is not None:
            layers = [means(members, inputs) for inputs in layers]
        room = self.capacity + missing(layers[0].shape[1] + self.capacity)
        self.past = [functional.pad(inputs, (0, 0, 0, room)) for inputs in layers]
        self.count = 0
        # Number of the token in each place of the ring; a number never reached is never attended to.
        self.token_numbers = torch.full((room,), 2**60, device=prompts.device)
        # (B or 1, P), what is added to the scores of the prompt's tokens.
        if members is not None:
            self.prompt_mask = log_counts(members).to(self.folded.dtype)
        elif valid is not None:
            self.prompt_mask = self.folded.mask(~valid)
        else:
            self.prompt_mask = prompts.new_zeros(1, prompts.shape[1], dtype=self.folded.dtype)

    def extend(self, tokens: Tensor) -> Tensor:
        """Compute the new tokens alone: a step's, after the action of the step before."""
        folded, count, before = self.folded, tokens.shape[1], self.prompt_mask.shape[1]
        new = torch.arange(self.count, self.count + count, device=tokens.device)
        first = (
            self.count + 1
        ) % self.capacity  # an action and what follows it stand side by side, also where the ring closes
        self.count += count
        self.token_numbers[first : first + count] = new
        places = slice(before + first, before + first + count)
        per_step, query = self.window.tokens_per_step, new.repeat_interleave(folded.heads)[:, None]
        numbers = self.token_numbers
        outside = (numbers > query) | (query // per_step - numbers // per_step >= self.window.steps)
        shape = (len(self.prompt_mask), len(outside), -1)
        mask = torch.cat([self.prompt_mask[:, None].expand(shape), folded.mask(outside).expand(shape)], dim=-1)
        x = tokens.to(folded.dtype)
        last = self.past[-1]
        for block, past in zip(folded.blocks, self.past, strict=True):
            y = block.norm(x)
            past[:, places] = y
            if past is last:
                x, y, mask = x[:, -1:], y[:, -1:], mask[:, -folded.heads :]
            x = block.perceive(block.attend(x, y, past, mask))
        return folded.norm(x)[:, -1]
