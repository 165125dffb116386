"""The rivals, against numbers worked out by hand and against plain implementations."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from pdt_lightning.rollouts.finetuning import finetuned
from pdt_lightning.tuners import make_tuner
from pdt_lightning.tuners.exploration import UCB, best_choice
from pdt_lightning.tuners.flat import POOL, FlatBandit
from pdt_lightning.tuners.hill_climbing import HillClimbing
from pdt_lightning.tuners.published import PublishedBandit, PublishedModel
from pdt_lightning.tuners.references import References
from pdt_lightning.tuners.reward_models import Apart, LinearModel
from pdt_lightning.tuners.structured import StructuredBandit
from pdt_lightning.tuners.zo_rank_sgd import ZORankSGD, rank_gradient


def rng(seed=0):
    return np.random.default_rng(seed)


def test_perturbed_prompts_keep_timesteps_and_mask_and_act_on_what_the_model_sees(segments, point_policy):
    made = HillClimbing(segments, 5, rng(), 2, point_policy, sigma=0.3)
    first, second = made.ask(2)
    assert first.choice == second.choice == ()
    start = segments.gather(np.array([made.first]))
    words = "; ".join(segments.describe(segment) for segment in made.first)
    assert first.origin == words
    assert (
        second.origin == f"values {np.sqrt(np.square(made.pending[1] - made.pending[0]).mean()):.2f} away from {words}"
    )
    assert first.prompt.states.numpy() == pytest.approx(start.states.numpy(), abs=1e-5)
    assert first.prompt.actions.numpy() == pytest.approx(start.actions.numpy(), abs=1e-5)
    assert torch.equal(second.prompt.timesteps, start.timesteps)
    assert torch.equal(second.prompt.mask, start.mask)
    noise = (second.prompt.states - first.prompt.states) / point_policy.model.state_std
    assert 0.1 < float(noise.std()) < 0.6
    values = made.space.point(second.prompt)
    assert values == pytest.approx(made.pending[1], abs=1e-4)


def test_hill_climbing_keeps_what_did_better(segments, point_policy):
    made = HillClimbing(segments, 4, rng(), 2, point_policy)
    tops = []
    for value in (1.0, 0.5, 3.0, 3.0):
        (candidate,) = made.ask()
        proposal = made.pending[candidate.id]
        made.tell([(candidate.id, value)])
        tops.append(made.top is proposal)
    assert tops == [True, False, True, False]
    assert made.best_value() == 3.0


def test_the_gradient_of_ranks_by_hand():
    """Values 3 > 1 > 0: the better i and worse j of each pair, noise_j - noise_i, averaged over the three pairs."""
    noises = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    by_hand = ((noises[1] - noises[0]) + (noises[2] - noises[0]) + (noises[2] - noises[1])) / 3
    assert rank_gradient(noises, np.array([3.0, 1.0, 0.0])) == pytest.approx(by_hand)
    assert not rank_gradient(noises, np.zeros(3)).any()


def test_zo_rank_sgd_descends_after_every_step_and_not_within_one(segments, point_policy):
    made = ZORankSGD(segments, 7, rng(), 2, point_policy, rollouts=3, mu=0.5, rate=2.0)
    start = made.current.copy()
    candidates = made.ask(10)
    assert [candidate.id for candidate in candidates] == [0, 1, 2]
    assert made.ask() == []  # until this step is told
    points = [made.pending[candidate.id] for candidate in candidates]
    made.tell([(0, 3.0), (1, 1.0), (2, 0.0)])
    noises = (np.array(points) - start) / 0.5
    wanted = start - 2.0 * rank_gradient(noises, np.array([3.0, 1.0, 0.0]))
    assert made.space.point(made.best().prompt) == pytest.approx(wanted, abs=1e-4)
    (fourth, *_) = made.ask()
    assert made.current == pytest.approx(wanted)
    made.tell([(fourth.id, 9.0)])
    assert made.space.point(made.best().prompt) == pytest.approx(wanted, abs=1e-4)


def test_ucb_by_hand(monkeypatch):
    """Mean and deviation of the posterior of two orthogonal segments: one was tried three times and the other once."""
    monkeypatch.setattr(LinearModel, "CONSTANT", 0.0)
    model = LinearModel(np.eye(2), slots=1)
    model.RATIOS = np.array([0.5])
    model.fit(np.array([[0], [0], [0], [1]]), np.array([1.0, 2.0, 0.0, -3.0]), rng())
    prior = (3 / 3.5 + 2 / 0.5 + 9 / 1.5 + 2) / 6  # as in test_reward_models
    assert model.deviation() == pytest.approx(np.sqrt(0.5 * prior / np.array([[3.5, 1.5]])))
    bounds = model.mean() + 10 * model.deviation()
    assert UCB(10.0).choose(model, 0.5, rng(), ()) == (int(bounds.argmax()),) == (1,)
    assert UCB(0.0).choose(model, 0.5, rng(), ()) == (0,)


def test_of_taken_choices_the_next_best_is_tried():
    terms = np.array([[0.0, 3.0, 1.0], [5.0, 0.0, 4.5]])
    taken, found = [], []
    for _ in range(4):
        found.append(best_choice(terms, taken))
        taken.append(found[-1])
    assert found == [(1, 0), (1, 2), (2, 0), (0, 0)]
    assert best_choice(np.zeros((1, 1)), [(0,)]) == (0,)  # there is no other


def test_apart_each_slot_is_credited_with_the_whole_return():
    features = rng(1).normal(size=(20, 3))
    choices = rng(2).integers(20, size=(30, 2))
    returns = rng(3).normal(size=30)
    both = Apart(LinearModel, features, 2)
    both.fit(choices, returns, rng())
    for slot in (0, 1):
        alone = LinearModel(features, 1)
        alone.fit(choices[:, [slot]], returns, rng())
        assert np.array_equal(2 * both.mean()[slot], alone.mean()[0])  # a prompt is worth the mean of its two slots
        assert np.array_equal(2 * both.deviation()[slot], alone.deviation()[0])


def test_with_one_segment_in_a_prompt_flat_and_structured_are_the_same(segments, point_policy):
    made = [
        make_tuner("structured", segments, 40, rng(), 1, point_policy, prior="none"),
        make_tuner("flat", segments, 40, rng(), 1, point_policy),
    ]
    assert isinstance(made[1], FlatBandit)
    coin = rng(7)
    while candidates := made[0].ask(3):
        others = made[1].ask(3)
        assert [(c.choice, c.predicted) for c in others] == [(c.choice, c.predicted) for c in candidates] or all(
            np.isnan(c.predicted) for c in (*candidates, *others)
        )
        values = coin.random(len(candidates))
        for one, own in zip(made, (candidates, others), strict=True):
            one.tell([(c.id, float(value)) for c, value in zip(own, values, strict=True)])
        assert made[0].best().choice == made[1].best().choice
        assert made[0].best_value() == made[1].best_value()


def test_the_flat_bandit_knows_no_slots(segments, point_policy):
    made = make_tuner("flat", segments, 8, rng(), 2, point_policy)
    assert made.model.mean().shape == (1, POOL)
    (candidate,) = made.ask()
    assert len(candidate.choice) == 2
    assert candidate.prompt.tobytes() == segments.gather(np.array([candidate.choice])).tobytes()


def test_the_published_perceptron_against_torch(segments):
    """A thousand steps of plain gradient descent on all rollouts, each slot by itself."""
    features, slots, n = rng(1).normal(size=(12, 4)), 2, 25
    model = PublishedModel(features, slots, rng(4), 0.05)
    choices, returns = rng(2).integers(12, size=(n, slots)), rng(3).normal(size=n)
    model.fit(choices, returns, rng())
    for slot in range(slots):
        layers = [torch.nn.Linear(a, b) for a, b in pairwise((4, 16, 16, 1))]
        for number, layer in enumerate(layers):
            layer.weight.data = torch.from_numpy(model.first[2 * number][slot].T.copy())
            layer.bias.data = torch.from_numpy(model.first[2 * number + 1][slot, 0].copy())
        net = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
        inputs = torch.from_numpy(features * 2.0).float()  # sqrt of 4 features
        optimizer = torch.optim.SGD(net.parameters(), lr=float(model.rate))
        for _ in range(1000):
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(
                net(inputs[choices[:, slot]])[:, 0], torch.from_numpy(returns).float()
            ).backward()
            optimizer.step()
        with torch.no_grad():
            assert model.mean()[slot] == pytest.approx(net(inputs)[:, 0].numpy(), abs=0.02)


def test_fitted_together_each_fits_as_it_would_alone(segments, point_policy):
    def told(seed):
        made = make_tuner("published", segments, 60, rng(seed), 2, point_policy)
        drawn = rng(seed)
        made.tell([(candidate.id, float(drawn.normal())) for candidate in made.ask(20 + 20 * (seed == 2))])
        return made

    together = [told(seed) for seed in range(3)]
    PublishedBandit.prepare(together)
    for seed, tuner in enumerate(together):
        assert np.array_equal(tuner.estimates(), told(seed).estimates())
    assert (
        len({tuner.model.rows(np.array(tuner.choices), np.array(tuner.outcomes))[0].shape for tuner in together}) == 2
    )


def test_finetuning_changes_a_copy_alone_and_learns(segments, point_policy):
    before = [values.clone() for values in point_policy.model.state_dict().values()]
    random_state = torch.get_rng_state()
    own = finetuned(point_policy, segments, 2, rng(), updates=30, learning_rate=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(before, point_policy.model.state_dict().values(), strict=True))
    assert torch.equal(random_state, torch.get_rng_state())
    again = finetuned(point_policy, segments, 2, rng(), updates=30, learning_rate=1e-3)
    pairs = list(zip(own.model.state_dict().values(), again.model.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert any(not torch.equal(a, b) for a, b in zip(before, own.model.state_dict().values(), strict=True))
    prompts = rng().integers(len(segments), size=(40, 2))
    errors = [References(segments, policy).losses(prompts).mean() for policy in (point_policy, own)]
    assert errors[1] < 0.8 * errors[0]
    assert not any(parameter.requires_grad for parameter in own.model.parameters())


def test_credit_is_an_option_of_the_structured_bandit(segments, point_policy):
    own, whole = (
        make_tuner("structured", segments, 8, rng(), 2, point_policy, credit=credit, prior="none")
        for credit in ("own", "whole")
    )
    assert isinstance(own, StructuredBandit)
    assert isinstance(own.model, LinearModel)
    assert isinstance(whole.model, Apart)
