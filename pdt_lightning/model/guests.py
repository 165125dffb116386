"""Transformers by name: ours, one of an installed package, or a user's own class.

What does not fit is refused before any work.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.guests import checked, find
from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import Steps
from pdt_lightning.model.pdt import PromptDecisionTransformer

TRANSFORMERS = {"pdt": PromptDecisionTransformer}
OPTIONS_AFTER = "window_steps"  # the last of the constructor's parameters that every transformer is given


def transformer_class(name: str) -> type[PromptDecisionTransformer]:
    """The transformer called `name`: `pdt`, an entry point of `pdt_lightning.transformers`, or a class path."""
    return find("`model.transformer`", name, TRANSFORMERS, "pdt_lightning.transformers", PromptDecisionTransformer)


def check_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The transformer's own options, checked.

    Raises:
        UserError: naming the option.
    """
    return checked("model.transformer_options", name, transformer_class(name), OPTIONS_AFTER, given)


def make_transformer(name: str, options: Mapping[str, Any], **sizes: Any) -> PromptDecisionTransformer:
    """The transformer called `name`, tried out where it is not ours.

    Args:
        name: see `transformer_class`.
        options: its own, checked.
        **sizes: the parameters of `PromptDecisionTransformer`.

    Raises:
        UserError: if it cannot be made, or its methods do not give what training and rollouts need.
    """
    kind = transformer_class(name)
    if not sizes.get("action_choices"):  # which a transformer that knows boxes alone need not take
        sizes.pop("action_choices", None)
    if kind is PromptDecisionTransformer:
        return kind(**sizes)
    model = _attempt(name, "it", lambda: kind(**sizes, **options)).eval()
    with torch.no_grad():
        _try_out(name, model, sizes["state_size"], sizes["action_size"])
    return model.train()


def _try_out(name: str, model: PromptDecisionTransformer, state_size: int, action_size: int) -> None:
    """Call everything that is asked of a transformer, on two rows of zeros."""
    context, prompt = zeros(state_size, action_size)

    def act() -> Tensor:
        memory = model.memory(prompt, 3, model.folded())
        first = model.act(memory, None, torch.zeros(2), torch.zeros(2, state_size), 0)
        return model.act(memory, first, torch.zeros(2), torch.zeros(2, state_size), 1)

    for method, call, shape in (
        ("forward", lambda: model(context, prompt), (2, 3, action_size)),
        ("act", act, (2, action_size)),
        ("answers", lambda: model.answers(prompt, context.singly(), model.folded()), (2, 6, 1, action_size)),
        ("encode", lambda: model.encode(prompt.singly(), torch.tensor([0, 3]), 3, model.folded()), (2, None)),
    ):
        found = tuple(_attempt(name, method, call).shape)
        if len(found) != len(shape) or any(size not in (None, there) for size, there in zip(shape, found, strict=True)):
            wanted = tuple("any" if size is None else size for size in shape)
            raise UserError(
                f"`model.transformer`={name}: its {method} gives {found} where {wanted} is needed. See "
                f"PromptDecisionTransformer.{method}."
            )


def zeros(state_size: int, action_size: int) -> tuple[Steps, Prompt]:
    """Context and prompt of two rows of three steps."""
    returns_to_go, states, actions = (torch.zeros(2, 3, size) for size in (1, state_size, action_size))
    timesteps, mask = torch.arange(3).expand(2, 3), torch.ones(2, 3, dtype=torch.bool)
    steps = (returns_to_go, states, actions, timesteps, mask)
    return Steps(*steps), Prompt(*steps)


def _attempt(name: str, what: str, call: Callable[[], Any]) -> Any:
    """What a call of the user's code gives; whatever it raises is theirs."""
    try:
        return call()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"`model.transformer`={name}: {what} fails: {type(error).__name__}: {error}. Mend it."
        ) from error
