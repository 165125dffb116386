"""A frozen transformer with its weights multiplied out, for acting and encoding.

Keys and values are linear in a block's normed input `y`: a score `(W_q x) · (W_k y)` is `(W_k' W_q x) · y`, and what is
attended to, `W_o Σ w W_v y`, is `(W_o W_v) Σ w y`. With the products of weights taken once, no keys and values are
computed, and remembering `y` alone halves what a later token has to read, which is what bounds it on a CPU. Each head
needs products of full width, so this pays for few heads; the published size has one.

Gains and biases of the norms are multiplied in too, and `y` has the constant `OFFSET` for a bias. Its sum is then
known, `D` times that, and stands in for the 1 that a bias is multiplied by: matrices take the biases in, and no pass is
spent on adding them.

Shapes as in `transformer.py`; `n` tokens are attended to, and `R = T * heads`.
"""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from pdt_lightning.model.transformer import Block, CausalTransformer

LANES = 32  # numbers of 16 bits in a vector of 512
OFFSET = 0.25  # a larger one costs `y` digits, a smaller one the matrices


class FoldedBlock:
    """Of one block."""

    def __init__(self, block: Block):
        self.heads, self.dtype = block.heads, block.contract.weight.dtype
        self.eps, self.offset = block.norm_attention.eps, torch.full_like(block.norm_attention.bias, OFFSET)
        # (heads, d, D) and (heads, d) for queries, keys and values
        (query, key, value), (query_bias, _, value_bias) = (
            [part.unflatten(0, (block.heads, -1)) for part in y.chunk(3)]
            for y in _without_norm(block.query_key_value, block.norm_attention)
        )
        # A softmax does not see what is the same for all scores of a query: a key's bias, and the offset, which is
        # taken out of the query since it would cost the scores digits.
        key = (key - key.mean(dim=-1, keepdim=True)) * query.shape[1] ** -0.5
        self.query = self._matrix(
            torch.einsum("hdk,hdq->hkq", key, query).flatten(0, 1),
            torch.einsum("hdk,hd->hk", key, query_bias).flatten(),
        )
        output = block.project.weight.double().unflatten(1, (block.heads, -1))  # (D, heads, d)
        self.output = self._matrix(
            torch.einsum("ohd,hdv->ohv", output, value).flatten(1),
            torch.einsum("ohd,hd->o", output, value_bias) + block.project.bias.double(),
        )
        # (D, heads * D): what each head makes of one `y`.
        self.outputs = torch.cat(self.output.chunk(block.heads), dim=1)
        self.expand = self._matrix(*_without_norm(block.expand, block.norm_perceptron))
        self.contract = block.contract

    def _matrix(self, weight: Tensor, bias: Tensor) -> Tensor:
        """`(in, out)`: what does to inputs with a mean of `OFFSET` what a layer does to them without it.

        The layer has `weight (out, in)` and `bias`.
        """
        return (weight + (bias / OFFSET - weight.sum(dim=1))[:, None] / weight.shape[1]).T.to(self.dtype).contiguous()

    def norm(self, x: Tensor) -> Tensor:
        """Normed input of attention or perceptron, from `x (B, T, D)`."""
        return functional.layer_norm(x, self.offset.shape, None, self.offset, self.eps)

    def attend(self, x: Tensor, y: Tensor, past: Tensor, mask: Tensor) -> Tensor:
        """`(B, T, D)` from `x (B, T, D)` and what its tokens attend to.

        Args:
            x: tokens.
            y: `(B, T, D)` their normed inputs.
            past: `(B, n, D)` normed inputs of the tokens attended to.
            mask: `(B or 1, R or 1, n or 1)`, added to the scores.
        """
        rows, tokens, width = x.shape
        # One matrix of all tokens, or each row would multiply its own copy of the weights.
        query = (y.flatten(0, 1) @ self.query).view(rows, tokens * self.heads, width)
        weights = torch.baddbmm(mask, query, past.transpose(-1, -2)).softmax(dim=-1)
        attended = (weights @ past).view(rows * tokens, self.heads * width)
        return torch.addmm(x.flatten(0, 1), attended, self.output).view(x.shape)

    def attend_in(self, windows: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """`(N, T, D)`: attention in windows that overlap, where what a token has in all its windows is computed once.

        Args:
            windows: `(N, n)` places in `x` of the tokens that windows consist of; the first `T` of them attend.
            x: `(tokens, D)`.
            mask: `(1, R, n)`, added to the scores.
        """
        y, tokens = self.norm(x), mask.shape[1] // self.heads
        attending = windows[:, :tokens]
        query, past, values = chosen(y @ self.query, attending), chosen(y, windows), chosen(y @ self.outputs, windows)
        weights = torch.baddbmm(mask, query.view(len(windows), -1, x.shape[1]), past.transpose(-1, -2)).softmax(dim=-1)
        # `values` has the heads of a token one after the other.
        weights = weights.unflatten(1, (tokens, self.heads)).transpose(-1, -2).flatten(2)
        return torch.baddbmm(chosen(x, attending), weights, values.view(len(windows), -1, x.shape[1]))

    def attend_apart(self, x: Tensor, y: Tensor, past: Tensor, mask: Tensor) -> Tensor:
        """`(B, W * T, D)`: attention of `W` contexts a row to one past that they share, and of each to itself alone.

        Args:
            x: `(B, W * T, D)` tokens, context after context.
            y: `(B, W * T, D)` their normed inputs.
            past: `(B, n, D)` normed inputs of the tokens that all contexts of a row attend to.
            mask: `(W, R, T)`, added to the scores within the contexts.
        """
        (rows, tokens, width), (contexts, queries, length) = x.shape, mask.shape
        query = (y.flatten(0, 1) @ self.query).view(rows, tokens * self.heads, width)
        apart = y.view(rows * contexts, length, width)
        inside = (query.view(rows * contexts, queries, width) @ apart.transpose(-1, -2)).view(
            rows, contexts, queries, length
        )
        scores = torch.cat([query @ past.transpose(-1, -2), (inside + mask).view(rows, -1, length)], dim=-1)
        weights = scores.softmax(dim=-1)
        attended = weights[..., : past.shape[1]] @ past
        own = weights[..., past.shape[1] :].reshape(rows * contexts, queries, length)
        attended += (own @ apart).view(attended.shape)
        return torch.addmm(x.flatten(0, 1), attended.view(rows * tokens, self.heads * width), self.output).view(x.shape)

    def perceive(self, x: Tensor) -> Tensor:
        """The block's perceptron, on `x (B, T, D)`."""
        inner = self.norm(x).flatten(0, 1) @ self.expand
        # Torch takes bf16 to float32 and back for it; as whole numbers they have the same signs.
        (inner.view(torch.int16) if inner.element_size() == 2 else inner).relu_()
        return self.contract(inner).view(x.shape).add_(x)


def _without_norm(linear: nn.Linear, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Weights and bias for inputs that have neither the norm's gain nor its bias, in double precision."""
    weight = linear.weight.double()
    return weight * norm.weight, linear.bias + weight @ norm.bias.double()


class FoldedTransformer:
    """The same numbers as the transformer's, to rounding.

    Args:
        transformer: frozen; in evaluation mode.
    """

    def __init__(self, transformer: CausalTransformer):
        self.norm, self.dtype = transformer.norm, transformer.norm.weight.dtype
        self.blocks = [FoldedBlock(block) for block in transformer.blocks]  # type: ignore[arg-type]
        self.heads: int = self.blocks[0].heads

    def mask(self, forbidden: Tensor) -> Tensor:
        """What to add to scores, from a bool tensor."""
        return torch.zeros(forbidden.shape, dtype=self.dtype, device=forbidden.device).masked_fill_(
            forbidden, float("-inf")
        )

    def causal(self, tokens: int, valid: Tensor | None) -> Tensor:
        """What to add to the scores of tokens that come first: `(B or 1, R, n)`.

        Args:
            tokens: `T`.
            valid: `(B, T)` bool, False on padding; None: no padding.
        """
        place = torch.arange(tokens + missing(tokens), device=self.norm.weight.device)
        forbidden = (place > place[:tokens, None])[None]
        if valid is not None:
            # A padding token attends to itself, or its softmax would be over nothing.
            forbidden = (forbidden | ~_lengthened(valid[..., None])[:, None, :, 0]) & (place != place[:tokens, None])
        return self.mask(forbidden.repeat_interleave(self.heads, dim=1))

    def layers(self, x: Tensor, mask: Tensor, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Before each block the tokens and its normed inputs, each `(B, T, D)`, for tokens that come first.

        Args:
            x: `(B, T, D)` embedded tokens.
            mask: `causal` of them.
            first: block to begin with.
        """
        x = x.to(self.dtype)
        for block in self.blocks[first:]:
            y = block.norm(x)
            yield x, y
            if block is not self.blocks[-1]:
                x = block.perceive(block.attend(x, y, _lengthened(y), mask))

    def answers(self, prompts: Tensor, contexts: Tensor, valid: Tensor, wanted: slice) -> Tensor:
        """`(B, W, Q, D)`: the hidden states of every context behind every prompt.

        Args:
            prompts: `(B, P, D)` embedded tokens; nothing of them is padding.
            contexts: `(W, T, D)` embedded tokens; a token sees the prompt and what comes before it in its own context.
            valid: `(W, T)` bool, False on padding.
            wanted: tokens of a context whose hidden states are wanted.
        """
        (count, length, width), rows = contexts.shape, len(prompts)
        mask = self.causal(length, valid)[..., :length]
        x = contexts.to(self.dtype).reshape(1, count * length, width).expand(rows, -1, -1)
        for block, (_, past) in zip(
            self.blocks, self.layers(prompts, self.causal(prompts.shape[1], None)), strict=True
        ):
            x = block.perceive(block.attend_apart(x, block.norm(x), past, mask))
        return self.norm(x.view(rows, count, length, width)[:, :, wanted])

    def ends(self, x: Tensor, first: Tensor, length: int) -> Tensor:
        """`(N, D)`: the hidden states at the last tokens of windows, each of which is read by itself.

        Args:
            x: `(tokens, D)` embedded tokens.
            first: `(N,)` places of the windows' first tokens; what windows share is computed once as far as it is
                equal.
            length: `T` tokens of a window.
        """
        x, mask = x.to(self.dtype), self.causal(length, None)
        windows = first[:, None] + torch.arange(mask.shape[2], device=x.device)
        windows.clamp_(max=len(x) - 1)  # to lengthen the last one; nobody attends to it
        block, deep = self.blocks[0], len(self.blocks) > 1
        tokens = block.perceive(block.attend_in(windows, x, mask)) if deep else chosen(x, windows[:, :length])
        (tokens, y), block = deque(self.layers(tokens, mask, int(deep)), maxlen=1).pop(), self.blocks[-1]
        return self.norm(block.perceive(block.attend(tokens[:, -1:], y[:, -1:], y, x.new_zeros(1, 1, 1))))[:, 0]


def missing(tokens: int) -> int:
    """Tokens to add that nobody attends to, so that a softmax is over whole vectors.

    Others take up to three times as long.

    >>> missing(60), missing(64)
    (4, 0)
    """
    return -tokens % LANES


def chosen(rows: Tensor, places: Tensor) -> Tensor:
    """`(N, T, D)`: of `rows (n, D)` those at `places (N, T)`; indexing does it too, in eight times as long."""
    return functional.embedding(places, rows)


def _lengthened(past: Tensor) -> Tensor:
    """`(B, n, D)` with zeros for the missing tokens."""
    return functional.pad(past, (0, 0, 0, missing(past.shape[1])))
