"""A soft prompt: that its gradient is the right one, that it learns, and what holds it back."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pdt_lightning.data.episodes import Index
from pdt_lightning.data.segments import Segments
from pdt_lightning.data.windows import context_windows
from pdt_lightning.model.actions import BoxActions, DiscreteActions
from pdt_lightning.rollouts.finetuning import finetuned
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners import make_tuner
from pdt_lightning.tuners.prior import from_demonstrations
from pdt_lightning.tuners.references import spread_windows
from pdt_lightning.tuners.soft_prompt import improved, learned_and_held
from tests.conftest import untrained


@pytest.fixture(scope="module")
def segments(point_data):
    return point_data.segments("point/03")


@pytest.fixture(scope="module", params=["window", "published"])
def policy(point_data, segments, request):
    """One that reads its prompts: it has seen a few batches."""
    torch.manual_seed(0)
    start = Policy(untrained(point_data, attention=request.param).model, 5)
    return finetuned(start, segments, 2, np.random.default_rng(0), updates=100, batch_size=64, learning_rate=3e-3)


def error(policy, segments, prompt, demonstrations):
    """Mean squared error in windows of demonstrations, as the policy itself finds it."""
    windows = spread_windows(segments.episodes, demonstrations, 3)
    return float(np.square(policy.errors(prompt, *context_windows(segments.episodes, *windows, 3))).mean())


def known(segments, successes, returns, steps=None):
    """The same demonstrations, with other successes, returns and steps."""
    index = replace(segments.episodes.index, successes=np.array(successes), returns=np.array(returns))
    changed = replace(segments.episodes, index=index, steps=segments.episodes.steps if steps is None else steps)
    return Segments(changed, segments.steps)


def tuned(segments, policy, seed=0, **options):
    return make_tuner("soft_prompt", segments, 9, np.random.default_rng(seed), 2, policy, **options)


def test_what_is_learned_and_what_is_held_to_are_different_demonstrations(segments):
    assert len(segments.episodes) == 3

    def numbers(successes, returns):
        return [part.tolist() for part in learned_and_held(known(segments, successes, returns).episodes)]

    assert numbers([1.0, 0.0, 0.0], [-9.0, -30.0, -20.0]) == [[0], [2, 1]]
    assert numbers([1.0, 1.0, 0.0], [-9.0, -9.1, -20.0]) == [[0, 1], [2]]
    assert numbers([1.0, 1.0, 1.0], [-9.0, -9.1, -9.2]) == [[0, 2], [1]]
    alone = Index(**{name: values[: 1 + (name == "offsets")] for name, values in vars(segments.episodes.index).items()})
    alone = replace(segments.episodes, index=alone, task=segments.episodes.task[:1])
    assert [part.tolist() for part in learned_and_held(alone)] == [[0], [0]]


def test_it_learns_its_demonstrations_from_the_segments_of_least_error(segments, policy):
    made = tuned(segments, policy)
    assert made.ask(5) == []
    assert np.isnan(made.best_value())
    best, start = made.best(), segments.gather(np.array([from_demonstrations(segments, policy, 2).best]))
    learned, _ = learned_and_held(segments.episodes)
    assert error(policy, segments, best.prompt, learned) < 0.95 * error(policy, segments, start, learned)
    assert torch.equal(best.prompt.timesteps, start.timesteps)
    assert torch.equal(best.prompt.mask, start.mask)
    assert best.prompt.states.dtype == start.states.dtype
    assert best.choice == ()
    assert best.origin.startswith("values 0.")
    assert best.origin.count("of demonstration") == 2


def test_agreement_keeps_what_it_knew_of_other_demonstrations(segments, policy):
    """The one that is learned does the opposite of all others: to learn it by heart costs what was known."""
    begin, end = segments.episodes.offsets[1:3]
    steps = np.array(segments.episodes.steps)
    steps[begin:end, 4:6] *= -1  # the actions to learn, behind two numbers of the state and two of the executed ones
    odd = known(segments, [0.0, 1.0, 0.0], [-20.0, -9.0, -21.0], steps)
    learned, held = learned_and_held(odd.episodes)
    start = tuned(odd, policy, steps=1).space.first
    own, others = np.array([error(policy, odd, start, part) for part in (learned, held)])
    rises = []
    for weight in (0.0, 1.0, 10.0):
        prompt = tuned(odd, policy, rate=0.1, agreement=weight).best().prompt
        assert error(policy, odd, prompt, learned) < own
        rises.append(error(policy, odd, prompt, held) - others)
    assert rises[0] > rises[1] > 2 * rises[2] > 0


@pytest.mark.parametrize("attention", ["window", "published"])
def test_a_step_of_adam_goes_downhill(segments, point_data, attention):
    """The first step of Adam goes by the rate against the sign of each value's gradient."""
    policy = Policy(untrained(point_data, attention=attention).model, 5)
    made = tuned(segments, policy, steps=1, rate=0.01, agreement=0.0)
    moved = made.tuned - made.space.start
    assert np.abs(moved).max() == pytest.approx(0.01, rel=1e-3)
    learned, _ = learned_and_held(segments.episodes)
    ahead, back = (
        error(policy, segments, made.space.prompt(made.space.start + sign * 20 * moved), learned) for sign in (1, -1)
    )
    assert ahead < back


def test_it_follows_from_the_demonstrations_and_leaves_the_policy_as_it_is(segments, policy):
    before = [values.clone() for values in policy.model.state_dict().values()]
    first = segments.gather(np.array([[0, 7]]))
    found = [improved(first, segments, policy, 5, 0.1, 1.0) for _ in range(2)]
    with torch.inference_mode():  # as in a phase, and with a model that was made in it
        inside, made = segments.gather(np.array([[0, 7]])), Policy(copy.deepcopy(policy.model), 5)
        found.append(improved(inside, segments, made, 5, 0.1, 1.0))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert all(torch.equal(a, b) for a, b in zip(before, policy.model.state_dict().values(), strict=True))
    assert not any(parameter.requires_grad for parameter in policy.model.parameters())


def test_of_its_state_it_recommends_the_same(segments, policy):
    made, other = tuned(segments, policy, steps=5), tuned(segments, policy, seed=3, steps=2)
    assert made.best().prompt.tobytes() != other.best().prompt.tobytes()
    other.load_state_dict(json.loads(json.dumps(made.state_dict())))
    assert other.best().prompt.tobytes() == made.best().prompt.tobytes()
    assert other.best().origin == made.best().origin


def test_a_model_that_ignores_prompts_leaves_the_segments_as_they_are(segments, point_data):
    policy = Policy(untrained(point_data, use_prompt=False).model, 5)
    made = tuned(segments, policy, steps=3)
    assert np.array_equal(made.tuned, made.space.start)


def test_predictions_are_nearest_to_themselves_as_labels():
    one = torch.tensor([[0.25, 0.75]])
    assert torch.equal(BoxActions().as_labels(one), one)
    choices = DiscreteActions([2])
    labels = choices.as_labels(one.log())
    assert labels.numpy() == pytest.approx(one.numpy())
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    assert float(choices.errors(one.log(), labels, torch.ones(2))) == pytest.approx(entropy)
    for other in ([[0.2, 0.8]], [[0.3, 0.7]]):
        assert float(choices.errors(torch.tensor(other).log(), labels, torch.ones(2))) > entropy


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 0}, "steps`=0"), ({"rate": 0.0}, "rate`=0.0"), ({"agreement": -1.0}, "agreement`=-1.0")],
)
def test_bad_options_are_named(segments, policy, options, message):
    with pytest.raises(ValueError, match=message):
        tuned(segments, policy, **options)


@pytest.mark.parametrize("generated", [0, 3])
def test_the_bandit_may_try_it_first(segments, policy, generated):
    soft = make_tuner("soft_prompt", segments, 0, np.random.default_rng(0), 2, policy).best()
    own = len(segments)

    def made():
        return make_tuner(
            "structured", segments, 20, np.random.default_rng(0), 2, policy, soft=True, generated=generated
        )

    bandit = made()
    assert len(bandit.segments) == own + generated + 2
    (first,) = bandit.ask()
    assert first.choice == ()  # it does not consist of the task's segments
    assert first.origin.startswith("part 1 of a soft prompt, steps ")
    assert "; part 2 of a soft prompt, steps " in first.origin
    if not generated:  # else it may start from generated ones
        assert torch.allclose(first.prompt.states, soft.prompt.states, atol=1e-5)
        assert torch.equal(first.prompt.timesteps, soft.prompt.timesteps)
    assert bandit.best().origin == first.origin
    for value in (-10.0, -10.0, 10.0, -10.0):
        bandit.tell([(first.id, value)])
        again = made()
        again.load_state_dict(bandit.state_dict())
        (first,), (other,) = bandit.ask(), again.ask()
        assert first.origin == other.origin
    assert all(max(choice) < own for choice, _ in bandit.memory())
