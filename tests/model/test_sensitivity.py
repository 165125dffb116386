"""How much a model's actions depend on the prompt: the definition, and what of it is measured in training."""

import numpy as np
import pytest
import torch

from pdt_lightning.data.windows import context_windows
from pdt_lightning.model import sensitivity
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.model.sensitivity import prompt_sensitivity, task_sensitivities
from tests.conftest import untrained


def plain(actions, half):
    """The definition, of `actions[prompt][step]`, each a list of coordinates."""
    at_a_step = in_all = 0.0
    prompts, steps = range(len(actions)), range(len(actions[0]))
    for coordinate, width in enumerate(half):
        scaled = [[actions[prompt][step][coordinate] / width for step in steps] for prompt in prompts]
        mean = sum(map(sum, scaled)) / (len(prompts) * len(steps))
        for step in steps:
            here = sum(scaled[prompt][step] for prompt in prompts) / len(prompts)
            for prompt in prompts:
                at_a_step += (scaled[prompt][step] - here) ** 2
                in_all += (scaled[prompt][step] - mean) ** 2
    return (at_a_step / in_all) ** 0.5


@pytest.fixture(scope="module")
def model(point_data):
    return untrained(point_data).model


def test_the_definition_against_a_plain_loop(point_data):
    model = untrained(point_data).model
    model.action_half.copy_(torch.tensor([0.5, 2.0]))
    model.action_mid.copy_(torch.tensor([1.0, -1.0]))
    predicted = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([[False, True], [True, True], [True, True]])
    steps = [predicted[prompt][present].tolist() for prompt in range(4)]
    assert prompt_sensitivity(model, predicted, present) == pytest.approx(plain(steps, [0.5, 2.0]))


def test_by_hand_and_without_a_unit(model):
    here = torch.ones(2, dtype=torch.bool)
    # Prompts move the first coordinate by +-1 and steps the second by +-2: a variance of 1 in one of 1 + 4.
    predicted = torch.tensor([[[1.0, 2.0], [1.0, -2.0]], [[-1.0, 2.0], [-1.0, -2.0]]])
    assert prompt_sensitivity(model, predicted, here) == pytest.approx(0.2**0.5)
    assert prompt_sensitivity(model, 10 * predicted + 3, here) == pytest.approx(0.2**0.5)


def test_its_ends(model):
    here = torch.ones(5, dtype=torch.bool)
    random = torch.Generator().manual_seed(0)
    by_step = torch.randn(1, 5, 2, generator=random).expand(3, 5, 2)
    assert prompt_sensitivity(model, by_step, here) == 0.0
    by_prompt = prompt_sensitivity(model, by_step.transpose(0, 1), torch.ones(3, dtype=torch.bool))
    assert by_prompt == pytest.approx(1.0)
    assert by_prompt <= 1.0
    still = torch.full((3, 5, 2), 0.3) + 1e-7 * torch.randn(3, 5, 2, generator=random)
    assert prompt_sensitivity(model, still, here) == 0.0


def test_of_choices_the_probabilities_are_compared():
    model = PromptDecisionTransformer(2, 3, 9, 16, 1, 1, 16, 0.0, action_choices=(3,))
    probabilities = torch.tensor([[[0.8, 0.1, 0.1], [0.2, 0.2, 0.6]], [[0.4, 0.5, 0.1], [0.2, 0.7, 0.1]]])
    seen = prompt_sensitivity(model, probabilities.log(), torch.ones(2, dtype=torch.bool))
    assert seen == pytest.approx(plain(probabilities.tolist(), [1.0] * 3))


@pytest.mark.parametrize("attention", ["window", "published"])
def test_every_training_task_is_measured_and_the_model_left_as_it_is(point_data, attention):
    module = untrained(point_data, attention=attention, dropout=0.5).train()
    before = torch.random.get_rng_state()
    pool = point_data.training_pool
    found = task_sensitivities(module.model, pool, 2, 5, np.random.default_rng(0))
    assert module.model.training
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(found) == 13
    assert all(0 < value < 1 for value in found)
    assert found == task_sensitivities(module.eval().model, pool, 2, 5, np.random.default_rng(0))
    # The first task again, a pair of prompt and window at a time.
    rng = np.random.default_rng(0)
    episode, start = pool.contexts(rng.random(sensitivity.WINDOWS), np.zeros(sensitivity.WINDOWS, int), 3)
    contexts, _ = context_windows(pool.episodes, episode, start, 3)
    prompts = pool.prompts(rng.random((sensitivity.PROMPTS, 2)), np.zeros(sensitivity.PROMPTS, int))
    with torch.inference_mode():
        steps = [
            [
                action
                for window in range(len(contexts))
                for action in module.model(contexts[[window]], prompts[[prompt]])[0].tolist()
            ]
            for prompt in range(len(prompts))
        ]
    assert found[0] == pytest.approx(plain(steps, module.model.action_half.tolist()), rel=1e-4)


def test_a_model_that_ignores_its_prompt_is_not_sensitive(point_data):
    module = untrained(point_data, use_prompt=False)
    found = task_sensitivities(module.model, point_data.training_pool, 2, 5, np.random.default_rng(0))
    assert found == [0.0] * 13
