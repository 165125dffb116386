"""What one phase found out, the next one remembers in part."""

import numpy as np
import pytest

from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners import make_tuner
from pdt_lightning.tuners.outlook import Outlook
from pdt_lightning.tuning.memory import PhaseMemory
from tests.conftest import untrained


class Found:
    """What a phase found of a task, as far as it is remembered."""

    def __init__(self, task, memory):
        self.task, self.memory = task, memory


def tried(count):
    return [((number,), float(number)) for number in range(count)]


def test_so_many_are_remembered_in_order_and_drawn_anew_in_each_phase():
    memory = PhaseMemory(0.25, seed=3)
    memory.begin(0)
    assert memory.told == {}
    memory.end([Found("a", tried(4000)), Found("b", tried(10))])
    memory.begin(1)
    first = memory.told["a"]
    assert 900 < len(first) < 1100
    assert first == sorted(first)
    memory.end([Found("a", [*first, ((5000,), None)])])  # of b, which was given up, nothing new is known
    memory.begin(2)
    assert 0.2 < len(memory.told["a"]) / len(first) < 0.3
    assert set(memory.told["a"]) < {*first, ((5000,), None)}
    memory.begin(2)
    again = PhaseMemory(0.25, seed=3)
    again.load_state_dict(memory.state_dict())
    assert (again.told, again.found) == (memory.told, memory.found)


@pytest.mark.parametrize(("probability", "left"), [(0.0, 0), (1.0, 50)])
def test_nothing_or_all(probability, left):
    memory = PhaseMemory(probability, 0)
    memory.end([Found("a", tried(50))])
    memory.begin(1)
    assert len(memory.told["a"]) == left


@pytest.fixture
def bandit(point_data):
    """Makes one with these options."""
    policy, segments = Policy(untrained(point_data, attention="window").model, 5), point_data.segments("point/03")

    def make(budget=20, **options):
        made = make_tuner("structured", segments, budget, np.random.default_rng(1), 1, policy, **options)
        made.outlook = Outlook(-10.0, 10.0, 10.0)
        return made

    return make


def test_what_is_remembered_teaches_like_what_was_tried_but_costs_nothing(bandit):
    told, remembering = bandit(), bandit()
    outcomes = []
    for value in (-10.0, 10.0, None, 10.0, -10.0):
        (candidate,) = told.ask()
        told.tell([(candidate.id, value)])
        outcomes.append((candidate.choice, value))
    assert told.memory() == outcomes
    remembering.remember(outcomes)
    assert remembering.memory() == outcomes
    assert (remembering.asked, told.asked) == (0, 5)
    told.fit_seed = remembering.fit_seed
    assert np.array_equal(remembering.estimates(), told.estimates())
    assert remembering.best().choice == told.best().choice
    copy = bandit()
    copy.load_state_dict(remembering.state_dict())
    assert [one.choice for one in copy.ask(3)] == [one.choice for one in remembering.ask(3)]
    assert [one.id for one in remembering.ask(1)] == [3]


def test_one_that_remembers_enough_is_sure_at_once(bandit):
    first = bandit().best().choice
    sure = bandit()
    sure.remember([(first, 10.0)] * 8)
    assert sure.ask() == []
    assert sure.best().choice == first
    doubting = bandit()
    doubting.remember([(first, 10.0)] * 7)
    assert [one.choice for one in doubting.ask()] == [first]


def test_other_tuners_start_afresh(point_data):
    policy, segments = Policy(untrained(point_data, attention="window").model, 5), point_data.segments("point/03")
    for name in ("random_search", "published", "hill_climbing"):
        one, other = (make_tuner(name, segments, 8, np.random.default_rng(1), 1, policy) for _ in range(2))
        other.remember(tried(3))
        for tuner in (one, other):
            for candidate in tuner.ask(4):
                tuner.tell([(candidate.id, 1.0)])
        assert one.memory() == []
        assert one.best().origin == other.best().origin


def test_generated_segments_are_not_remembered(bandit, monkeypatch):
    from pdt_lightning.tuners import generated

    monkeypatch.setattr(generated, "UPDATES", 20)
    monkeypatch.setattr(generated, "FIT_UPDATES", 5)
    some = bandit(generated=4)
    own = some.segments.demonstrated
    some.remember([((own + 1,), 10.0), ((0,), 10.0)])
    assert some.memory() == [((0,), 10.0)]
