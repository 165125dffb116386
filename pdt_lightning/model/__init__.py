"""What learns: a causal transformer over a trajectory prompt and the recent past.

`pdt.py` is the whole model, `lit_pdt.py` the training around it, and `transformer.py` its blocks with their attention,
which `folded.py` and `memory.py` compute again, faster, for rollouts: change them together. `attention_maps.py` only
shows where a model looks. To exchange the transformer, derive from `PromptDecisionTransformer` and name the class in
`TRANSFORMERS` (`guests.py`), or give its path as `model.transformer`.

`actions.py` has the loss of each kind of action, `learning_rate.py` the schedule, and `validation.py` the metrics of a
validation; `sensitivity.py` says how much actions depend on the prompt. `checkpoints.py` reads what a user names, be it
a file of Lightning's, a folder that `exported.py` wrote, or a model that `pretrained.py` finds by name; `program.py`
writes a policy for torch alone. `strategies.py` shares weights out over devices, and `whole.py` has them whole again.
"""

from typing import TYPE_CHECKING, Any

from pdt_lightning.model.pdt import PromptDecisionTransformer

if TYPE_CHECKING:
    from pdt_lightning.model.lit_pdt import LitPDT

__all__ = ["LitPDT", "PromptDecisionTransformer"]


def __getattr__(name: str) -> Any:
    """`LitPDT`, imported when it is asked for: worker processes do without Lightning, which takes seconds."""
    if name == "LitPDT":
        from pdt_lightning.model.lit_pdt import LitPDT

        return LitPDT
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
