"""What a rollout remembers of its past, for each form of attention.

Both take the tokens of a new step and give the hidden state at the last of them: exactly that of one pass over the last `K` steps,
or in window form over the whole episode. Shapes as in `transformer.py`.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from pdt_lightning.model.transformer import Block, CausalTransformer, Prefix, Window


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
    """The window form: the last `K` steps in a ring behind the prompt, and only new tokens are computed.

    What is remembered of a token, for each block, is its normed input `y`, of which keys and values are linear functions: a score
    `(W_q x) · (W_k y)` is `(W_k' W_q x) · y`, and what is attended to, `W_o Σ w W_v y`, is `(W_o W_v) Σ w y`. With the products of
    weights taken once, a step reads half of what keys and values would make it read, and reading is what bounds it on a CPU. Each
    head needs products of full width, so this pays for few heads; the published size has one.

    Args:
        transformer: frozen.
        prefix: of the prompts.
        window: how far back a token attends.
    """

    def __init__(self, transformer: CausalTransformer, prefix: Prefix, window: Window):
        self.transformer, self.window = transformer, window
        self.before = prefix.inputs[0].shape[1]
        # One step more than the window: a step's action comes with the next step, when its own oldest step is still seen.
        self.slots = (window.steps + 1) * window.tokens_per_step
        self.layers = [
            _Layer(block, functional.pad(inputs, (0, 0, 0, self.slots)))  # type: ignore[arg-type]
            for block, inputs in zip(transformer.blocks, prefix.inputs, strict=True)
        ]
        self.count = 0
        # Number of the token in each slot; a number never reached is never attended to.
        self.number = torch.full((self.slots,), 2**60, device=prefix.inputs[0].device)
        self.forbidden = None if prefix.valid is None else ~prefix.valid[:, None]  # (B, 1, P)

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
        outside = outside.repeat_interleave(self.transformer.blocks[0].heads, dim=0)  # type: ignore[arg-type]
        x = tokens.to(self.transformer.norm.weight.dtype)
        for number, (block, layer) in enumerate(zip(self.transformer.blocks, self.layers, strict=True)):
            y = block.norm_attention(x)  # type: ignore[operator]
            layer.past[:, own] = y
            if number == len(self.layers) - 1:
                # Contiguous, or each row would multiply its own copy of the weights.
                x, y, outside = x[:, -1:].contiguous(), y[:, -1:].contiguous(), outside[-len(outside) // count :]
            x = block.perceive(x + layer.attend(y, self.before, outside, self.forbidden))  # type: ignore[operator]
        return self.transformer.norm(x)[:, -1]


class _Layer:
    """Attention of one block to what it remembers, with its products of weights."""

    def __init__(self, block: Block, past: Tensor):
        self.past = past  # (B, P + slots, D)
        projections = (block.query_key_value.weight, block.query_key_value.bias)
        # (heads, d, D) and (heads, d) for queries, keys and values
        (query, key, value), (query_bias, _, value_bias) = (
            [part.unflatten(0, (block.heads, -1)) for part in y.float().chunk(3)] for y in projections
        )
        output = block.project.weight.float().unflatten(1, (block.heads, -1))  # (D, heads, d)
        scale = query.shape[1] ** -0.5
        # A key's bias adds the same to all scores of a query, and a softmax does not see that.
        self.to_query, self.to_query_bias, self.output, self.output_bias = (
            y.to(past.dtype)
            for y in (
                torch.einsum("hdk,hdq->hkq", key, query).flatten(0, 1) * scale,
                torch.einsum("hdk,hd->hk", key, query_bias).flatten() * scale,
                torch.einsum("ohd,hdv->ohv", output, value).flatten(1),
                torch.einsum("ohd,hd->o", output, value_bias) + block.project.bias.float(),
            )
        )

    def attend(self, y: Tensor, before: int, outside: Tensor, forbidden: Tensor | None) -> Tensor:
        """`(B, T, D)`: what is added to tokens whose normed values are `y (B, T, D)`."""
        query = functional.linear(y, self.to_query, self.to_query_bias).view(len(y), -1, y.shape[-1])  # (B, T * heads, D)
        scores = query @ self.past.transpose(-1, -2)
        scores[..., before:].masked_fill_(outside, float("-inf"))
        if forbidden is not None:
            scores[..., :before].masked_fill_(forbidden, float("-inf"))
        attended = scores.softmax(dim=-1) @ self.past
        return functional.linear(attended.view(*y.shape[:2], -1), self.output, self.output_bias)
