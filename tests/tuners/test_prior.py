"""The bandit starts from what is held before the first rollout, and finds out where that misleads."""

import numpy as np
import pytest

from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners import StructuredBandit, make_tuner
from pdt_lightning.tuners.features import features
from pdt_lightning.tuners.prior import SLOPE, Informed, Prior, from_demonstrations, standardised
from pdt_lightning.tuners.reward_models import LinearModel
from tests.conftest import untrained


@pytest.fixture(scope="module")
def policy(point_data):
    return Policy(untrained(point_data, attention="window").model, 5)


def worth(segments):
    """What each segment is worth in a made-up world: less with every step from the middle of its demonstration."""
    return -np.abs(segments.start - segments.episodes.lengths_of(segments.episode) / 2.0)


def bandit(segments, policy, scores, seed=0, budget=40):
    prior = None if scores is None else Prior(scores, (int(scores.argmax()),))
    return StructuredBandit(
        segments, budget, np.random.default_rng(seed), 1, features("encoded", segments, policy), prior=prior
    )


def found(made, values, noise=2.0, seed=0):
    """Worth of what is recommended in the end."""
    rng = np.random.default_rng(seed)
    while asked := made.ask(1):
        made.tell([(asked[0].id, float(values[asked[0].choice[0]] + noise * rng.standard_normal()))])
    return values[made.best().choice[0]]


def test_what_is_held_best_is_recommended_before_and_tried_in_the_first_rollout(segments, policy):
    prior = from_demonstrations(segments, policy, 2)
    made = make_tuner("structured", segments, 12, np.random.default_rng(3), 2, policy)
    assert made.best().choice == prior.best
    asked = [candidate.choice for candidate in made.ask(3)]
    assert asked[0] == prior.best
    assert len(set(asked)) == 3
    assert make_tuner("structured", segments, 0, np.random.default_rng(4), 2, policy).best().choice == prior.best


def test_a_good_prior_spares_rollouts_and_a_misleading_one_is_found_out(segments, policy):
    values = worth(segments)
    few = {
        name: np.mean([found(bandit(segments, policy, scores, seed, 4), values, seed=seed) for seed in range(10)])
        for name, scores in (("good", values), ("none", None))
    }
    assert few["good"] > few["none"] + 1.0
    many = {
        name: np.mean([found(bandit(segments, policy, scores, seed, 50), values, seed=seed) for seed in range(10)])
        for name, scores in (("misleading", -values), ("none", None))
    }
    assert many["misleading"] > many["none"] - 1.0


def test_scores_count_in_standard_deviations_and_outliers_no_more_than_two():
    scores = np.array([5.0, 1.0, 3.0, 3.0, 4.0, 2.0, 3.0])
    found = standardised(scores)
    assert np.allclose(found, (scores - 3.0) / np.sqrt(10 / 7))
    assert np.allclose(found, standardised(1e-6 * scores + 7.0))
    assert not standardised(np.full(4, 0.1)).any()
    assert standardised(np.append(np.zeros(99), 1e12)).max() == 2.0


def test_the_weight_of_a_score_is_learned():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(60)
    model = Informed(lambda features: LinearModel(features, 1), np.zeros((60, 1)), 1, scores)
    assert np.allclose(model.mean()[0], SLOPE * standardised(scores))
    model.expect(1.0)
    assert np.allclose(model.mean()[0], 1.0 + SLOPE * (standardised(scores) - standardised(scores).max()))
    choices = np.arange(60)[:, None]
    model.fit(choices, -standardised(scores), rng)
    assert np.corrcoef(model.mean()[0], scores)[0, 1] < -0.9
    assert model.sample(rng).shape == model.deviation().shape == (1, 60)
