"""The policy as a program that needs torch alone: one step of an episode, with its memory handed in and out."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import Steps
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.model.pdt import PromptDecisionTransformer

Tensors = dict[str, Tensor]


class Step(nn.Module):
    """One step of `B` episodes that are played in step.

    The memory is the last steps themselves, and all of them are gone through again, so that any transformer can be
    written down in the same way. Rollouts, which remember what was computed, are several times as fast.

    Args:
        model: frozen, in evaluation mode.
        reach: `R`, how many steps an action may depend on, its own included.
    """

    def __init__(self, model: PromptDecisionTransformer, reach: int):
        super().__init__()
        self.model, self.reach = model, reach

    def forward(
        self, prompt: Tensors, memory: Tensors, states: Tensor, returns_to_go: Tensor, timestep: Tensor
    ) -> tuple[Tensor, Tensors]:
        """Act, and remember.

        Args:
            prompt: the tensors of `B` prompts by name, in the order of `Prompt`: torch tells them apart by
                that.
            memory: as it came from the step before; zeros before the first one: `returns_to_go (B, R - 1, 1)`,
                `states (B, R - 1, S)` and `actions (B, R - 1, A)`.
            states: `(B, S)`, as the environment gives them.
            returns_to_go: `(B,)`, what is still asked for, in units of the task's scale.
            timestep: `()` int64, number of the step in its episode, from 0.

        Returns:
            `(B, A)` actions in the environment's unit, of choices one-hot vectors; and the memory for the next step.
        """
        newest = {
            "returns_to_go": returns_to_go[:, None, None],
            "states": states[:, None],
            "actions": torch.zeros_like(memory["actions"][:, :1]),  # not known yet, and not seen
        }
        rows = {name: torch.cat([memory[name], newest[name]], dim=1) for name in newest}
        number = timestep - self.reach + 1 + torch.arange(self.reach, device=states.device)
        shape = rows["states"].shape[:2]
        context = Steps(**rows, timesteps=number.clamp(min=0).expand(shape), mask=(number >= 0).expand(shape))
        actions = self.model.actions.decided(self.model(context, Prompt(**prompt))[:, -1])
        rows["actions"] = torch.cat([rows["actions"][:, :-1], actions[:, None]], dim=1)
        return actions, {name: values[:, 1:] for name, values in rows.items()}

    def empty(self, prompt: Prompt) -> Tensors:
        """The memory before the first step, of as many episodes as there are prompts."""
        sizes = {"returns_to_go": 1, "states": prompt.states.shape[-1], "actions": prompt.actions.shape[-1]}
        return {
            name: torch.zeros(len(prompt), self.reach - 1, size, dtype=getattr(prompt, name).dtype)
            for name, size in sizes.items()
        }


def reach_of(module: LitPDT) -> int:
    """`R`: how many steps back an action depends on, its own step included.

    In the published form that is `K`. In window form every layer reaches `K - 1` steps further back. What a transformer
    of the user's own remembers is not known, so that it is given the longest episode.
    """
    sizes = module.hparams
    if type(module.model) is not PromptDecisionTransformer:
        return max(sizes["max_timesteps"], sizes["context_steps"])
    return (
        sizes["layers"] * (sizes["context_steps"] - 1) + 1 if sizes["attention"] == "window" else sizes["context_steps"]
    )


def save_program(path: Path, module: LitPDT, prompt: Prompt) -> None:
    """Write `Step` of a model as a `.pt2` file, which `torch.export.load` reads without this package.

    Args:
        path: of the file.
        module: the model, which is frozen.
        prompt: one of its prompts; the program takes prompts of as many steps, for any number of episodes.

    Raises:
        UserError: if torch cannot write the model down, as that of a user's own class.
    """
    model = module.model.eval().requires_grad_(False)
    step = Step(model, reach_of(module))
    two = prompt[[0, 0]]  # of one episode torch would take the number for a constant
    memory = step.empty(two)
    example = (vars(two), memory, two.states[:, 0], torch.zeros(2), torch.tensor(0))
    rows = {0: Dim("episodes", min=1)}
    shapes = (dict.fromkeys(vars(two), rows), dict.fromkeys(memory, rows), rows, rows, None)
    try:
        program = torch.export.export(step, example, dynamic_shapes=shapes)
    except Exception as error:  # torch raises many kinds, on account of what the model's code does
        raise UserError(
            f"`torch_export`: torch.export cannot write down the transformer `{module.hparams['transformer']}`: "
            f"{type(error).__name__}: {str(error).splitlines()[0]} Leave the option out, or change its forward."
        ) from error
    program.example_inputs = None  # which would be pickled
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, path)
