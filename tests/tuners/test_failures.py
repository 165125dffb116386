"""What fails is the worst: a prompt that cannot be played is neither tried for long nor recommended."""

import json

import numpy as np
import pytest

from pdt_lightning.tuners import HillClimbing, ZORankSGD, make_tuner
from pdt_lightning.tuners.outlook import Outlook
from pdt_lightning.tuners.zo_rank_sgd import rank_gradient


@pytest.mark.parametrize("floor", [-50.0, 100.0])
@pytest.mark.parametrize("name", ["structured", "random_search", "flat"])
def test_a_finalist_that_crashes_is_not_recommended(segments, point_policy, name, floor):
    """The prompt that did best while exploring fails ever after; all others bring the same, as demonstrations may."""
    made = make_tuner(name, segments, 60, np.random.default_rng(0), 2, point_policy)
    made.outlook = Outlook(worst=floor)
    best, retrials = None, 0
    while candidates := made.ask(1):
        (candidate,) = candidates
        again = candidate.id >= made.exploring
        if best is None:
            best = candidate.choice
        crashes = candidate.choice == best
        retrials += again and crashes
        made.tell([(candidate.id, None if crashes and candidate.id else 500.0 if crashes else 100.0)])
    assert retrials <= 2
    assert made.best().choice != best


def test_it_is_recommended_where_nothing_else_is_left(segments, point_policy):
    made = make_tuner("random_search", segments, 4, np.random.default_rng(0), 2, point_policy)
    (candidate,) = made.ask(1)
    made.tell([(candidate.id, None)])
    assert made.best().choice == candidate.choice


def test_a_climb_does_not_stand_on_a_prompt_that_fails(segments, point_policy):
    made = HillClimbing(segments, 3, np.random.default_rng(0), 2, point_policy)
    made.outlook = Outlook(worst=50.0)
    tops = []
    for value in (None, -5.0, None):
        (candidate,) = made.ask()
        made.tell([(candidate.id, value)])
        tops.append(made.top_value)
    assert tops == [-np.inf, -5.0, -5.0]
    assert made.best_value() == -5.0


def test_ranks_put_failures_last_also_behind_what_is_worse_later(segments, point_policy):
    made = ZORankSGD(segments, 6, np.random.default_rng(0), 2, point_policy, rollouts=3, mu=0.5, rate=2.0)
    start, candidates = made.current.copy(), made.ask(3)
    points = [made.pending[candidate.id] for candidate in candidates]
    made.tell([(0, None), (1, 1.0), (2, -7.0)])
    restored = ZORankSGD(segments, 6, np.random.default_rng(9), 2, point_policy, rollouts=3, mu=0.5, rate=2.0)
    restored.load_state_dict(json.loads(json.dumps(made.state_dict())))
    wanted = start - 2.0 * rank_gradient((np.array(points) - start) / 0.5, np.array([-7.0, 1.0, -7.0]))
    for tuner in (made, restored):
        assert tuner.space.point(tuner.best().prompt) == pytest.approx(wanted, abs=1e-4)
        assert tuner.best_value() == pytest.approx((1.0 - 7.0 - 7.0) / 3)
