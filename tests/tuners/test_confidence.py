"""A search ends when it is sure of its prompt: by what was demonstrated, and by the outcomes of all prompts."""

import numpy as np
import pytest
from scipy.stats import norm

from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners import make_tuner
from pdt_lightning.tuners.base import SURE
from pdt_lightning.tuners.confidence import confidence
from pdt_lightning.tuners.outlook import Outlook
from tests.conftest import untrained


@pytest.fixture(scope="module")
def policy(point_data):
    return Policy(untrained(point_data, attention="window").model, 5)


def made(segments, policy, budget=60, **options):
    bandit = make_tuner("structured", segments, budget, np.random.default_rng(0), 1, policy, **options)
    bandit.outlook = Outlook(-10.0, 10.0, 10.0)
    return bandit


def played(bandit, values, parallel=1):
    """The choices that were tried until it asks no more, with outcomes by segment."""
    tried = []
    while asked := bandit.ask(parallel):
        tried += [candidate.choice[0] for candidate in asked]
        bandit.tell([(candidate.id, float(values(candidate.choice[0]))) for candidate in asked])
    return tried


def test_it_is_the_normal_tail_of_a_mean_whose_spread_has_a_prior():
    # Prior: four tolerances, and a fifth of the mean square by which all outcomes missed the best, (0 + 0 + 400) / 3.
    prior = 4.0 + 0.2 * 400 / 3
    spread = 2 * prior / (2 + 2)  # its own two outcomes are alike
    known = confidence([10.0, 10.0], [10.0, 10.0, -10.0], 10.0, 0.5)
    assert known == pytest.approx(norm.cdf(0.5 / np.sqrt(spread / (2 + 2))))
    assert confidence([10.0, -10.0], [10.0, -10.0], 10.0, 0.5) < 0.2


def test_a_prompt_that_does_as_well_as_the_demonstrations_is_tried_again_at_once_and_ends_the_search(segments, policy):
    bandit = made(segments, policy)
    first = bandit.best().choice[0]
    assert np.isnan(bandit.confidence())
    assert played(bandit, lambda segment: 10.0) == [first] * 8  # outcomes that are all alike make it sure at the eighth
    assert bandit.best().choice == (first,)
    assert SURE <= bandit.confidence() < 1
    assert bandit.ask() == []


def test_a_prompt_that_fails_is_left_for_others(segments, policy):
    bandit = made(segments, policy)
    first = bandit.best().choice[0]
    far = np.abs(segments.start - segments.start[first]) > 2
    tried = played(bandit, lambda segment: 10.0 if far[segment] else -10.0)
    assert tried.count(first) < 4
    assert far[bandit.best().choice[0]]
    assert len(tried) < 60


def test_without_a_tolerance_or_without_success_all_is_spent(segments, policy):
    assert len(played(made(segments, policy, 20, tolerance=0.0), lambda segment: 10.0)) == 20
    assert len(played(made(segments, policy, 20), lambda segment: -10.0)) == 20


def test_taken_up_again_it_is_as_sure(segments, policy):
    bandit, other = made(segments, policy), made(segments, policy)
    for _ in range(5):
        bandit.tell([(candidate.id, 10.0) for candidate in bandit.ask()])
    other.load_state_dict(bandit.state_dict())
    assert other.outlook == bandit.outlook
    assert other.confidence() == bandit.confidence()
    assert [candidate.choice for candidate in other.ask(3)] == [candidate.choice for candidate in bandit.ask(3)]
