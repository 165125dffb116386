import numpy as np
import pytest
import torch

from pdt_lightning.tuners.reward_models import REWARD_MODELS, LinearModel


def rng():
    return np.random.default_rng(0)


@pytest.fixture
def without_constant(monkeypatch):
    monkeypatch.setattr(LinearModel, "CONSTANT", 0.0)


def test_posterior_by_hand(without_constant):
    """Two orthogonal segments, one slot: mean and spread of each term follow from its own rollouts alone."""
    model = LinearModel(np.eye(2), slots=1)
    model.RATIOS = np.array([0.5])
    model.fit(np.array([[0], [0], [0], [1]]), np.array([1.0, 2.0, 0.0, -3.0]), rng())
    # Ridge: sum / (count + ratio) = 3 / 3.5 and -3 / 1.5.
    assert model.mean() == pytest.approx(np.array([[3 / 3.5, -3 / 1.5]]))
    # prior = (y' (K + ratio)^-1 y + 2) / (n + 2), K being blocks of ones of size 3 and 1:
    # the mean direction of block 1 carries (3 / sqrt 3)^2 = 3 over 3.5, the rest of it 5 - 3 = 2 over 0.5, block 2 has
    # 9 over 1.5.
    prior = (3 / 3.5 + 2 / 0.5 + 9 / 1.5 + 2) / 6
    draws = np.array([model.sample(generator)[0] for generator in map(np.random.default_rng, range(4000))])
    assert draws.mean(axis=0) == pytest.approx(model.mean()[0], abs=0.1)
    assert draws.var(axis=0) == pytest.approx(0.5 * prior / np.array([3.5, 1.5]), rel=0.1)


def test_the_mean_segment_is_not_worth_what_the_chosen_ones_brought():
    """Good segments were tried nine times as often, so that returns are centred on theirs.

    The features are centred on all.
    """
    features = np.repeat([[1.0], [-1.0]], 10, axis=0)  # the first ten bring 10, the others -10
    choices = np.arange(40)[:, None] % 10
    choices[:4] += 10
    outcomes = np.where(choices[:, 0] < 10, 10.0, -10.0)
    model = LinearModel(features, slots=1)
    model.fit(choices, (outcomes - outcomes.mean()) / outcomes.std(), rng())
    assert outcomes.mean() + outcomes.std() * model.mean().mean() == pytest.approx(0, abs=1)


def test_what_is_about_to_be_known_is_no_longer_in_doubt():
    model = LinearModel(np.eye(3), slots=1)
    model.fit(np.array([[0], [0]]), np.array([1.0, -1.0]), rng())
    open_ones = model.deviation([(1,)] * 5)[0]
    assert open_ones[1] < 0.6 * model.deviation()[0, 1]
    assert open_ones[2] == pytest.approx(model.deviation()[0, 2], rel=0.2)  # but for what all have in common


def test_slots_are_credited_with_their_own_share():
    """G = phi_1(s_1) + phi_2(s_2) with opposite terms: an independent fit would see each through the other's noise."""
    features = np.random.default_rng(1).normal(size=(30, 4))
    weights = np.array([[1.0, -2.0, 0.5, 0.0], [-1.0, 2.0, -0.5, 0.0]])
    choices = np.random.default_rng(2).integers(30, size=(60, 2))
    returns = (features[choices] * weights).sum(axis=(1, 2))
    model = LinearModel(features, slots=2)
    model.fit(choices, returns, rng())
    assert model.mean() == pytest.approx(weights @ features.T, abs=0.05)


@pytest.mark.parametrize("name", REWARD_MODELS)
def test_it_learns_which_segments_are_good_even_within_a_validation(name):
    features = np.random.default_rng(1).normal(size=(40, 3))
    truth = features[:, 0]
    choices = np.random.default_rng(2).integers(40, size=(80, 1))
    returns = truth[choices[:, 0]] + 0.1 * np.random.default_rng(3).normal(size=80)
    model = REWARD_MODELS[name](features / np.sqrt(3), 1)
    with torch.inference_mode():  # what `trainer.validate` puts around its hooks
        model.fit(choices, (returns - returns.mean()) / returns.std(), rng())
    assert np.corrcoef(model.mean()[0], truth)[0, 1] > 0.95
    again = REWARD_MODELS[name](features / np.sqrt(3), 1)
    again.fit(choices, (returns - returns.mean()) / returns.std(), rng())
    assert np.array_equal(model.mean(), again.mean())
    assert np.array_equal(model.sample(rng()), again.sample(rng()))


@pytest.mark.parametrize("name", REWARD_MODELS)
def test_one_rollout_and_equal_returns_are_no_trouble(name):
    model = REWARD_MODELS[name](np.eye(3), 2)
    assert not model.mean().any()
    for count in (1, 5):
        model.fit(np.zeros((count, 2), int), np.zeros(count), rng())
        assert np.isfinite(model.mean()).all()
        assert np.isfinite(model.sample(rng())).all()


def test_it_is_less_sure_of_what_it_has_not_tried():
    model = LinearModel(np.eye(4), slots=1)
    model.fit(np.array([[0], [0], [0], [0], [1]]), np.array([1.0, 1.1, 0.9, 1.0, -1.0]), rng())
    draws = np.array([model.sample(generator)[0] for generator in map(np.random.default_rng, range(500))])
    assert draws.std(axis=0)[2] > draws.std(axis=0)[1] > draws.std(axis=0)[0]
