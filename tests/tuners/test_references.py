"""What demonstrations tell before any rollout.

It is the error of the transformer's actions on short windows of the best of them.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pdt_lightning.core.seeding import generator
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.data.windows import context_windows
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners import make_tuner
from pdt_lightning.tuners.references import PROMPTS, References, best_demonstrations, least_loss
from tests.conftest import untrained


@pytest.fixture(scope="module", params=["window", "published"])
def policy(point_data, request):
    return Policy(untrained(point_data, attention=request.param).model, 5)


def with_index(segments: Segments, **known) -> Segments:
    """The same demonstrations, with other returns or successes."""
    return Segments(replace(segments.episodes, index=replace(segments.episodes.index, **known)), segments.steps)


def test_errors_behind_shared_prompts_are_those_of_single_forward_passes(segments, policy):
    last = int(segments.episodes.lengths[2]) - 2  # whose window is padded
    contexts, labels = context_windows(segments.episodes, np.array([0, 1, 2, 2]), np.array([0, 4, 7, last]), 3)
    prompts = segments.gather(np.array([[n, (7 * n) % len(segments)] for n in range(40)]))
    errors = policy.errors(prompts, contexts, labels)
    assert errors.shape == (40, 4)
    present = contexts.mask[:, :, None]
    with torch.inference_mode():
        for number in (0, 13, 39):
            predicted = policy.model(contexts, Prompt.cat([prompts[[number]]] * 4))
            squares = ((predicted - labels) / policy.model.action_half).square() * present
            expected = (squares.sum(dim=(1, 2)) / (present.sum(dim=(1, 2)) * labels.shape[-1])).sqrt()
            assert np.allclose(errors[number], expected.numpy(), atol=1e-5)


def test_errors_do_not_depend_on_threads(segments, policy):
    prompts = segments.gather(np.arange(len(segments))[:, None])
    contexts, labels = context_windows(segments.episodes, np.array([0, 1]), np.array([2, 4]), 3)
    single = policy.errors(prompts, contexts, labels)
    many = Policy(policy.model, 5)
    many.threads = 4
    assert np.array_equal(single, many.errors(prompts, contexts, labels))


def test_neither_random_nor_failed_demonstrations_set_the_standard(segments):
    count = len(segments.episodes)
    returns = np.full(count, -250.0)
    returns[[2, 1]] = -10.0, -10.2
    assert best_demonstrations(with_index(segments, returns=returns).episodes).tolist() == [2, 1]
    successes = np.zeros(count)
    successes[0] = 1.0
    # A success counts before any return, and without one there is none to set the standard but it.
    assert best_demonstrations(with_index(segments, returns=returns, successes=successes).episodes).tolist() == [0]


def test_a_demonstration_that_was_cut_off_is_not_the_best_for_having_lost_less(segments):
    lengths = segments.episodes.lengths
    whole = lengths == lengths.max()
    assert not whole.all()
    returns = -lengths.astype(np.float64)  # each step costs
    cut_off = with_index(segments, returns=returns, ended=np.zeros(len(lengths), bool)).episodes
    assert whole[cut_off.ranked()].tolist() == sorted(whole, reverse=True)
    assert whole[best_demonstrations(cut_off)[0]]
    ended = with_index(segments, returns=returns, ended=np.ones(len(lengths), bool)).episodes
    assert ended.ranked()[0] == lengths.argmin()


def test_a_prompt_is_not_compared_on_what_it_shows(segments, policy):
    references = References(segments, policy)
    assert len(np.unique(references.episode)) > 1
    own = references._own(np.array([[0], [len(segments) - 1]]))
    for row, number in zip(own, (0, len(segments) - 1), strict=True):
        assert np.array_equal(row, references.episode == segments.episode[number])
    alone = with_index(segments, returns=np.where(np.arange(len(segments.episodes)) == 0, 10.0, -10.0))
    references = References(alone, policy)
    assert set(references.episode) == {0}
    near = references._own(np.array([[4]]))[0]
    shown = (references.start < 4 + segments.steps) & (references.start + 3 > 4)
    assert np.array_equal(near, shown)
    assert 0 < shown.sum() < len(shown)


def test_every_segment_has_a_loss_though_neighbours_share_a_forward_pass(point_data, policy):
    long = Segments(point_data.segments("point/03").episodes, 10)
    references, asked = References(long, policy), []
    losses = references.losses
    references.losses = lambda choices: asked.append(len(choices)) or losses(choices)
    found = references.of_segments(2)
    assert found.shape == (len(long),)
    assert np.isfinite(found).all()
    assert sum(asked) < len(long)
    # What is interpolated and smoothed stays close to what a pass of its own would say.
    exact = References(long, policy).losses(np.repeat(np.arange(len(long))[:, None], 2, axis=1))
    assert np.corrcoef(found, exact)[0, 1] > 0.8


def test_slot_by_slot_a_prompt_gets_no_worse(segments, policy):
    references = References(segments, policy)
    losses = references.of_segments(3)
    choice = least_loss(references, losses, 3)
    together = references.losses(np.array([choice, [int(losses.argmin())] * 3]))
    assert together[0] <= together[1]


def test_sensitivity_is_that_of_single_forward_passes_behind_random_prompts(segments, policy):
    references = References(segments, policy)
    choices = generator(0, "prompt sensitivity").integers(len(segments), size=(PROMPTS, 2))
    contexts, predicted = references._contexts, []
    with torch.inference_mode():
        for choice in choices:
            prompt = segments.gather(choice[None])
            predicted.append(torch.cat([policy.model(contexts[[n]], prompt) for n in range(len(contexts))]))
    steps = torch.stack(predicted)[:, contexts.mask] / policy.model.action_half  # (P, steps, A)
    both = np.array([steps.var(0, correction=0).mean(0).sum(), steps.flatten(0, 1).var(0, correction=0).sum()])
    assert references.sensitivity(2) == pytest.approx(np.sqrt(both[0] / both[1]), rel=1e-4)
    assert references.sensitivity(2) == References(segments, policy).sensitivity(2)


def test_without_prompts_sensitivity_is_0(segments, point_data):
    policy = Policy(untrained(point_data, use_prompt=False).model, 5)
    assert References(segments, policy).sensitivity(2) == 0.0


@pytest.mark.parametrize("name", ["demonstration_loss", "best_demonstration"])
def test_tuners_that_spend_nothing(segments, policy, name):
    made = make_tuner(name, segments, 50, np.random.default_rng(0), 2, policy)
    assert made.ask(5) == []
    choice = made.best().choice
    if name == "best_demonstration":
        best = best_demonstrations(segments.episodes)[0]
        assert set(segments.episode[list(choice)]) == {best}
    again = make_tuner(name, segments, 50, np.random.default_rng(5), 2, policy)
    again.load_state_dict(made.state_dict())
    assert again.best().choice == choice
