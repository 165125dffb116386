"""A prompt in fewer tokens: what a rollout remembers of its tokens is merged, group by group, before it begins.

A group is a run of neighbouring tokens of one kind: returns-to-go, states or actions. Each group is remembered as the
mean of its tokens, and the logarithm of their number is added to its score. A softmax gives `n` equal tokens as much
weight as one of them with `log n` added, so that equal tokens are merged without loss.

Shapes as in `transformer.py`; `m` tokens are left of `P`.

Source: the aim is that of approximated prompt tuning, Wu et al. 2023 (arXiv 2306.15706), which leaves the prompt's
tokens out of attention. The logarithm is that of token merging, Bolya et al. 2023 (arXiv 2210.09461), section 3.
"""

import torch
from torch import Tensor


def groups(present: Tensor, kinds: int, tokens: int) -> Tensor:
    """Which tokens of prompts are merged.

    Args:
        present: `(B, P)` bool, False on padding. The kinds take turns, step by step.
        kinds: tokens of a step.
        tokens: `m`, groups to make. The kinds get equal shares, to one token; if there are fewer than kinds,
            neighbouring kinds share a group. The tokens that a prompt has of a kind are divided evenly.

    Returns:
        `(B, m, P)` float32, 1 where a token is in a group; padding is in none, and a group may be empty.

    >>> groups(torch.ones(1, 8, dtype=torch.bool), 2, 3).int().tolist()
    [[[1, 0, 1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 1]]]
    """
    # Group at which the share of each kind begins, and where that of the last one ends.
    bounds = torch.arange(kinds + 1, device=present.device) * tokens // kinds
    shares = bounds.diff().clamp(min=1)
    of_kind = present.unflatten(1, (-1, kinds))  # (B, steps, kinds)
    counts, places = of_kind.sum(dim=1, keepdim=True), of_kind.cumsum(dim=1) - 1
    group = bounds[:-1] + places * shares // counts.clamp(min=1)
    chosen = torch.arange(tokens, device=present.device)[:, None] == group.flatten(1)[:, None]
    return (chosen & present[:, None]).float()


def means(members: Tensor, values: Tensor) -> Tensor:
    """`(B, ..., m, d)`: the mean over each group of `values (B, ..., P, d)`, zero of an empty one, in their type.

    Args:
        members: `groups`; of one row if they are the same in all.
        values: of the tokens.
    """
    members = members.reshape(len(members), *[1] * (values.ndim - 3), *members.shape[1:])
    sums = members @ values.to(members.dtype)
    return (sums / members.sum(dim=-1, keepdim=True).clamp(min=1)).to(values.dtype)


def log_counts(members: Tensor) -> Tensor:
    """`(B, m)`: what is added to the scores of groups; minus infinity for an empty one, which nothing attends to."""
    return members.sum(dim=-1).log()
