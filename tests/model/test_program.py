"""The policy as a program for torch alone does what rollouts do."""

import numpy as np
import pytest
import torch

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.segments import Prompt
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.model.program import Step, reach_of, save_program
from pdt_lightning.rollouts.policy import Policy
from tests.conftest import SMALL

STEPS = 200


def made(attention, transformer="pdt", state=torch.float32, **options):
    """A module with weights large enough that everything it sees changes its actions, and two prompts."""
    module = LitPDT(3, 4, 30, context_steps=5, attention=attention, transformer=transformer, **SMALL, **options).eval()
    with torch.no_grad():
        for weights in module.parameters():
            weights.mul_(3)
    drawn = torch.Generator().manual_seed(0)
    values = [torch.randn(2, 6, size, generator=drawn) for size in (1, 3, 4)]
    values[1] = values[1].to(state)
    return module, Prompt(*values, torch.arange(6).expand(2, 6), torch.ones(2, 6, dtype=torch.bool))


def differences(module, step, prompt):
    """Largest difference between the program's actions and the policy's in each of 200 steps."""
    rng, scales = np.random.default_rng(1), np.array([2.0, 5.0])
    policy, found = Policy(module.model, 5), []
    policy.reset(prompt, np.array([10.0, -3.0]), scales)
    memory, to_go, rewards = Step(module.model, reach_of(module)).empty(prompt), np.array([5.0, -0.6]), None
    for number in range(STEPS):
        states = rng.normal(size=(len(prompt), 3))
        seen = torch.from_numpy(states).to(prompt.states.dtype)
        ours = policy.act(states, rewards)
        with torch.no_grad():
            asked = torch.from_numpy(to_go).float()
            theirs, memory = step(vars(prompt), memory, seen, asked, torch.tensor(number))
        found.append(float(np.abs(ours - theirs.numpy()).max()))
        rewards = rng.normal(size=len(prompt))
        to_go = to_go - rewards / scales
    return found


@pytest.mark.parametrize("attention", ["published", "window"])
def test_what_is_written_acts_as_rollouts_do(attention, tmp_path):
    module, prompt = made(attention)
    save_program(tmp_path / "model" / "policy.pt2", module, prompt[[0]])
    step = torch.export.load(tmp_path / "model" / "policy.pt2").module()
    assert max(differences(module, step, prompt)) < 1e-5
    three = prompt[[0, 1, 0]]  # any number of episodes
    memory = Step(module.model, reach_of(module)).empty(three)
    with torch.no_grad():
        actions, _ = step(vars(three), memory, torch.ones(3, 3), torch.ones(3), torch.tensor(0))
    assert torch.equal(actions[0], actions[2])
    assert not torch.allclose(actions[0], actions[1], atol=1e-3)  # the prompt tells


@pytest.mark.parametrize("attention", ["published", "window"])
@pytest.mark.parametrize(
    "options",
    [{"action_choices": [3, 1]}, {"state": torch.float64}, {"use_return_to_go": False}, {"use_prompt": False}],
    ids=str,
)
def test_the_step_does_so_of_every_kind(attention, options):
    module, prompt = made(attention, **options)
    assert max(differences(module, Step(module.model, reach_of(module)), prompt)) < 1e-5


def test_the_memory_reaches_as_far_as_actions_do_and_no_further():
    module, prompt = made("window")
    reach = reach_of(module)
    assert reach == 2 * 4 + 1
    assert reach_of(made("published")[0]) == 5
    step, shorter = Step(module.model, reach), Step(module.model, reach - 1)
    memory = {name: torch.randn_like(values) for name, values in step.empty(prompt).items()}
    lacking = {name: values[:, 1:] for name, values in memory.items()}
    given = (torch.ones(2, 3), torch.ones(2), torch.tensor(20))
    with torch.no_grad():
        whole, cut = step(vars(prompt), memory, *given)[0], shorter(vars(prompt), lacking, *given)[0]
    assert (whole - cut).abs().max() > 1e-6


class Counting(PromptDecisionTransformer):
    """A transformer of a user's, which looks at numbers as Python does."""

    def forward(self, context, prompt):
        predicted = super().forward(context, prompt)
        return predicted * 2 if float(context.states.sum()) > 1e9 else predicted


def test_a_transformer_that_cannot_be_written_down_is_the_users_to_mend(tmp_path):
    module, prompt = made("published", f"{__name__}.Counting")
    assert reach_of(module) == 30
    with pytest.raises(UserError, match=r"torch_export.*cannot write down the transformer.*Counting"):
        save_program(tmp_path / "policy.pt2", module, prompt)
    assert not list(tmp_path.iterdir())
