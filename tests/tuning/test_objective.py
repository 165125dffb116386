"""One objective for each task, decided before its first rollout."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import Outcome
from pdt_lightning.tasks.base import Task
from pdt_lightning.tasks.point import PointEnv
from pdt_lightning.tuning.objective import Objective, check_objective, decide
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import tune
from pdt_lightning.tuning.subject import Subject

OPTIONS = TuningOptions(rounds=6, yardstick_episodes=2, verdict_episodes=3, oracle_candidates=0)


class Silent(PointEnv):
    """Reports nothing of success."""

    def reset(self, **options):
        return super().reset(**options)[0], {}

    def step(self, action):
        *rest, _ = super().step(action)
        return *rest, {}


class OnlyWhenWon(PointEnv):
    """Reports success when it happens, by the key that Stable-Baselines3 and Gymnasium-Robotics use."""

    def reset(self, **options):
        return super().reset(**options)[0], {}

    def step(self, action):
        *rest, info = super().step(action)
        return *rest, ({"is_success": np.bool_(True)} if info["success"] else {"is_success": float("nan")})


class Particular(OnlyWhenWon):
    """Takes actions of its own type alone."""

    def __init__(self, **options):
        super().__init__(**options)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float64)

    def step(self, action):
        assert action.dtype == np.float64
        return super().step(action)


class Failing(PointEnv):
    """Raises in the first step."""

    def step(self, action):
        raise ArithmeticError("the simulation is unstable")


@pytest.fixture(autouse=True)
def environments():
    kinds = (Silent, OnlyWhenWon, Particular, Failing)
    for kind in kinds:
        gym.register(f"test/{kind.__name__}-v0", entry_point=f"tests.tuning.test_objective:{kind.__name__}")
    yield
    for kind in kinds:
        del gym.registry[f"test/{kind.__name__}-v0"]


@pytest.fixture
def known(point_data):
    """A task of an environment, and its demonstrations, of which so many report success."""

    def made(name, reporting=0):
        task, episodes = point_data.heldout_tasks[0], point_data.segments("point/03").episodes
        successes = np.where(np.arange(len(episodes)) < reporting, episodes.index.successes, np.nan)
        episodes = dataclasses.replace(episodes, index=dataclasses.replace(episodes.index, successes=successes))
        segments = Segments(episodes, 3)
        return Subject(dataclasses.replace(task, env_id=f"test/{name}-v0" if name else task.env_id), segments)

    return made


@pytest.mark.parametrize(
    ("name", "reporting", "kind"),
    [
        ("", 0, "success"),
        ("OnlyWhenWon", 0, "success"),  # which the demonstrated actions do
        ("Particular", 0, "success"),
        ("Silent", 0, "return"),
        ("Silent", 3, "return"),  # the demonstrations are of an environment that did report it
        ("Silent", 2, "success"),  # where it appears only when it happens
        ("Failing", 0, "success"),  # before it fails
    ],
)
def test_auto_is_decided_by_what_environment_and_demonstrations_report(known, name, reporting, kind):
    subject = known(name, reporting)
    assert decide("auto", subject).kind == kind
    assert decide("return", subject).kind == "return"


@pytest.mark.parametrize("option", ["success", "success_only"])
def test_success_that_nothing_reports_is_refused(known, option):
    with pytest.raises(UserError, match=rf"`tuning.objective`={option}: test/Silent-v0, the environment of point/03"):
        decide(option, known("Silent"))
    with pytest.raises(UserError, match="has no success in its info"):
        check_objective(option, [known(""), known("Silent")])


def test_whether_success_is_reported_is_found_out_once(known, monkeypatch):
    built, make = [], Task.make_env
    monkeypatch.setattr(Task, "make_env", lambda self: built.append(self.id) or make(self))
    subject = known("")
    assert [decide(option, subject).kind for option in ("auto", "success", "auto")] == ["success"] * 3
    assert len(built) == 1


@pytest.mark.parametrize("option", ["auto", "return"])
def test_before_a_run_nothing_is_played_that_could_not_refuse_it(known, option, monkeypatch):
    monkeypatch.setattr("pdt_lightning.tasks.base.Task.make_env", lambda self: pytest.fail("an environment was built"))
    check_objective(option, [known("Silent")])


def test_what_is_maximised():
    lost, won = Outcome(2.0, 0.0, 5), Outcome(1.0, 1.0, 5)
    both, success, only = (Objective(kind, True, 10.0) for kind in ("success", "success_only", "return"))
    assert both.value(won) > both.value(lost)
    assert both.value(Outcome(3.0, 1.0, 5)) > both.value(won)  # ties are broken by return
    assert success.value(Outcome(3.0, 1.0, 5)) == success.value(won) == 1.0
    assert only.value(lost) == 2.0
    assert both.value(Outcome(2.0, None, 5, failed="x")) is None


@pytest.mark.parametrize("scale", [1.0, 500.0])
def test_no_return_outweighs_one_success_in_a_thousand(scale):
    objective = Objective("success", True, scale)
    for won, lost in ((-1500.0, -100.0), (-1e9, 1e9), (0.0, 120.0)):
        assert 0 <= objective.of(lost, 0.0) < objective.of(won, 1.0) <= 1
        more, fewer = (
            n * objective.of(total, 1.0) + (1000 - n) * objective.of(total, 0.0)
            for n, total in ((501, won), (500, lost))
        )
        assert more > fewer
    values = [objective.of(total, 1.0) for total in (-1e6, -1500.0, -100.0, 0.0, 3.0, 1e6)]
    assert values == sorted(set(values))


def test_units_are_not_mixed_where_success_appears_only_when_it_happens(point_policy, known, point_data):
    """An episode without it was lost, in the search and in the tables."""
    subject = known("OnlyWhenWon", 3)
    (result,) = tune(point_policy, [subject], RolloutPool(0, 4).with_policy(point_policy), OPTIONS, 2, 0)
    assert result.record.objective == "success"
    assert any(trial.outcome.success is None for trial in result.trials)
    assert set(result.record.seen) <= {0.0, 1.0}
    assert [len(result.untuned.successes), len(result.tuned.successes)] == [3, 3]
    assert -1e-9 <= result.recommended_value <= 1


def test_the_last_step_is_reported_beside_the_highest(point_policy, point_data, monkeypatch):
    """A goal that is touched and left again."""
    step = PointEnv.step

    def left(self, action):
        return *step(self, action)[:4], {"success": float(self.steps == 2)}

    monkeypatch.setattr(PointEnv, "step", left)
    subject = Subject(point_data.heldout_tasks[0], point_data.segments("point/03"))
    (result,) = tune(point_policy, [subject], RolloutPool(0, 4).with_policy(point_policy), OPTIONS, 2, 0)
    assert result.tuned.successes == [1.0] * 3
    assert result.tuned.last_successes == [0.0] * 3
    assert {trial.outcome.last_success for trial in result.trials} == {0.0}


def test_what_is_demonstrated_says_what_is_to_be_reached(point_data):
    subject = Subject(point_data.prompt_tasks["point/03"], point_data.segments("point/03"))
    returns = decide("return", subject).outlook
    assert (returns.demonstrated, returns.size) == (10.0, 10.0)  # all of them touch their goal
    success = decide("success", subject).outlook
    assert success.demonstrated == pytest.approx(1.0, abs=5e-4)
    assert (success.size, success.worst) == (1.0, pytest.approx(0.0, abs=5e-4))
