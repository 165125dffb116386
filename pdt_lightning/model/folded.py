"""A frozen transformer with its attention's weights multiplied out, for acting and encoding.

Keys and values are linear in a block's normed input `y`: a score `(W_q x) · (W_k y)` is `(W_k' W_q x) · y`, and what is attended
to, `W_o Σ w W_v y`, is `(W_o W_v) Σ w y`. With the products of weights taken once, no keys and values are computed, and remembering
`y` alone halves what a later token has to read, which is what bounds it on a CPU. Each head needs products of full width, so this
pays for few heads; the published size has one.

Shapes as in `transformer.py`; `n` tokens are attended to, and `R = T * heads`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from pdt_lightning.model.transformer import Block, CausalTransformer

LANES = 32  # numbers of 16 bits in a vector of 512


class FoldedAttention:
    """Of one block."""

    def __init__(self, block: Block):
        self.heads = block.heads
        # (heads, d, D) and (heads, d) for queries, keys and values
        (query, key, value), (query_bias, _, value_bias) = (
            [part.unflatten(0, (block.heads, -1)) for part in weights.float().chunk(3)]
            for weights in (block.query_key_value.weight, block.query_key_value.bias)
        )
        output = block.project.weight.float().unflatten(1, (block.heads, -1))  # (D, heads, d)
        scale = query.shape[1] ** -0.5
        # A key's bias adds the same to all scores of a query, and a softmax does not see that.
        self.query, self.query_bias, self.output, self.output_bias = (
            y.to(block.project.weight.dtype)
            for y in (
                torch.einsum("hdk,hdq->hkq", key, query).flatten(0, 1) * scale,
                torch.einsum("hdk,hd->hk", key, query_bias).flatten() * scale,
                torch.einsum("ohd,hdv->ohv", output, value).flatten(1),
                torch.einsum("ohd,hd->o", output, value_bias) + block.project.bias.float(),
            )
        )

    def __call__(self, y: Tensor, past: Tensor, forbidden: Tensor) -> Tensor:
        """`(B, T, D)`: what attention adds to tokens with normed inputs `y (B, T, D)`.

        Args:
            y: contiguous, or each row would multiply its own copy of the weights.
            past: `(B, n, D)` normed inputs of the tokens attended to.
            forbidden: `(B or 1, R, n)` bool.
        """
        rows, tokens, width = y.shape
        query = functional.linear(y, self.query, self.query_bias).view(rows, tokens * self.heads, width)
        scores = (query @ past.transpose(-1, -2)).masked_fill_(forbidden, float("-inf"))
        attended = (scores.softmax(dim=-1) @ past).view(rows, tokens, self.heads * width)
        return functional.linear(attended, self.output, self.output_bias)


class FoldedTransformer:
    """The same numbers as the transformer's, to rounding.

    Args:
        transformer: frozen; in evaluation mode.
    """

    def __init__(self, transformer: CausalTransformer):
        self.transformer = transformer
        self.heads: int = transformer.blocks[0].heads  # type: ignore[assignment]
        self.attention = [FoldedAttention(block) for block in transformer.blocks]  # type: ignore[arg-type]

    def inputs(self, x: Tensor, valid: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """Normed inputs of each block, and what the last one's is the norm of, each `(B, T, D)`, for tokens that come first.

        Args:
            x: `(B, T, D)` embedded tokens.
            valid: `(B, T)` bool, False on padding; None: no padding.
        """
        x, inputs, tokens = x.to(self.transformer.norm.weight.dtype), [], x.shape[1]
        place = torch.arange(tokens + missing(tokens), device=x.device)
        forbidden = (place > place[:tokens, None])[None]
        if valid is not None:
            # A padding token attends to itself, or its softmax would be over nothing.
            forbidden = (forbidden | ~_lengthened(valid[..., None])[:, None, :, 0]) & (place != place[:tokens, None])
        forbidden = forbidden.repeat_interleave(self.heads, dim=1)
        for attention, block in zip(self.attention, self.transformer.blocks, strict=True):
            y = block.norm_attention(x)  # type: ignore[operator]
            inputs.append(y)
            if len(inputs) < len(self.attention):
                x = block.perceive(x + attention(y, _lengthened(y), forbidden))  # type: ignore[operator]
        return inputs, x

    def last(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """`(B, D)`: the hidden state at the last of the tokens; arguments as for `inputs`."""
        inputs, x = self.inputs(x, valid)
        y = inputs[-1]
        forbidden = torch.zeros(1, 1, 1, dtype=torch.bool, device=x.device) if valid is None else ~valid[:, None]
        x = x[:, -1:] + self.attention[-1](y[:, -1:].contiguous(), y, forbidden)
        return self.transformer.norm(self.transformer.blocks[-1].perceive(x))[:, 0]  # type: ignore[operator]


def missing(tokens: int) -> int:
    """Tokens to add that nobody attends to, so that a softmax is over whole vectors; others take up to three times as long.

    >>> missing(60), missing(64)
    (4, 0)
    """
    return -tokens % LANES


def _lengthened(past: Tensor) -> Tensor:
    """`(B, n, D)` with zeros for the missing tokens."""
    return functional.pad(past, (0, 0, 0, missing(past.shape[1])))
