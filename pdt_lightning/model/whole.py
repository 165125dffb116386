"""Weights of which each rank has a share, as `strategies.FullySharded` leaves them, made whole; all others as they are.

It does without Lightning, as what worker processes import has to.
"""

import copy
from typing import Any

from torch import Tensor

from pdt_lightning.model.pdt import PromptDecisionTransformer


def is_share(value: Tensor) -> bool:
    """Whether it is a `DTensor`, whose module takes its time to import."""
    return hasattr(value, "full_tensor")


def whole(value: Tensor) -> Tensor:
    """A weight, gradient or norm; a collective where each rank has a share of it."""
    return value.full_tensor() if is_share(value) else value  # type: ignore[attr-defined]


def whole_model(module: Any) -> PromptDecisionTransformer:
    """The model of a `LitPDT`; where it is sharded, a whole copy on the CPU, and a collective."""
    values = module.model.state_dict()
    if not any(map(is_share, values.values())):
        return module.model
    model = module.make_model()
    model.load_state_dict({name: whole(value).cpu() for name, value in values.items()})
    return model.to(module.dtype)


def frozen_copy(module: Any) -> PromptDecisionTransformer:
    """The model of a `LitPDT`, to be played with; likewise a collective where it is sharded."""
    model = whole_model(module)
    return (copy.deepcopy(model) if model is module.model else model).eval().requires_grad_(False)
