import dataclasses

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from pdt_lightning.data.segments import Prompt
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import Outcome
from pdt_lightning.tasks.base import Task
from pdt_lightning.tuners import make_tuner
from pdt_lightning.tuners.outlook import Outlook
from pdt_lightning.tuning import oracle
from pdt_lightning.tuning.objective import Objective
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import Recommendation, planned_rollouts, tune
from pdt_lightning.tuning.result import EpisodeStatistics
from pdt_lightning.tuning.search import Cell, search
from pdt_lightning.tuning.subject import Subject, check_prompt

OPTIONS = TuningOptions(
    rounds=6, parallel=2, yardstick_episodes=2, verdict_episodes=3, oracle_candidates=5, oracle_episodes=1
)


@pytest.fixture
def subjects(point_data):
    return [Subject(task, point_data.segments(task.id)) for task in point_data.heldout_tasks]


@pytest.fixture
def play(point_policy):
    return RolloutPool(0, 4).with_policy(point_policy)


def plain(result):
    fields = {name: getattr(result, name) for name in result.__dataclass_fields__ if name != "prompt"}
    return repr(fields), result.prompt.states.tolist()


def test_a_phase_leaves_everything_that_is_reported(point_policy, subjects):
    rollouts = []
    play = RolloutPool(0, 4).with_policy(point_policy, lambda rows, outcomes: rollouts.append(len(outcomes)))
    results = tune(point_policy, subjects, play, OPTIONS, 2, 0, with_oracle=True)
    # The bandit may recommend a prompt that it has not tried, which the search for the best found then does.
    untried = sum(all(trial.candidate.origin != one.origin for trial in one.trials) for one in results)
    assert sum(rollouts) == planned_rollouts(OPTIONS, 3, with_oracle=True) + untried
    for result, subject in zip(results, subjects, strict=True):
        assert result.task == subject.task.id
        assert len(result.expert.returns) == 3
        assert [len(result.yardstick.returns), len(result.untuned.returns), len(result.tuned.returns)] == [2, 3, 3]
        assert len(result.oracle.successes) == 3
        assert [trial.candidate.id for trial in result.trials] == list(range(6))
        assert result.origin.count("of demonstration") == 2
        assert result.prompt.states.shape == (1, 6, 2)


def test_a_task_fares_the_same_whoever_runs_beside_it(point_policy, subjects, play):
    together = [plain(r) for r in tune(point_policy, subjects, play, OPTIONS, 2, 0, with_oracle=True)]
    alone = [plain(tune(point_policy, [s], play, OPTIONS, 2, 0, with_oracle=True)[0]) for s in reversed(subjects)]
    assert alone[::-1] == together


def test_phases_and_seeds_differ_and_repeat(point_policy, subjects, play):
    def run(seed, phase):
        options = dataclasses.replace(OPTIONS, seed=seed)
        return [trial.seed for trial in tune(point_policy, subjects[:1], play, options, 2, phase)[0].trials]

    assert run(0, 0) == run(0, 0)
    assert len({tuple(run(0, 0)), tuple(run(0, 1)), tuple(run(1, 0))}) == 3


def test_without_rollouts_and_verdict_prompts_are_chosen_and_no_environment_is_asked_for(
    point_policy, subjects, monkeypatch
):
    def no(*args, **kwargs):
        raise AssertionError("nothing is to be played")

    monkeypatch.setattr("pdt_lightning.rollouts.environment_cache.gym.make", no)
    options = TuningOptions(rounds=0, verdict_episodes=0)
    results = tune(point_policy, subjects, lambda rows: [] if not rows else no(), options, 2, 0)
    assert planned_rollouts(options, 3, with_oracle=False) == 0
    for result, subject in zip(results, subjects, strict=True):
        best = make_tuner("demonstration_loss", subject.segments, 0, np.random.default_rng(0), 2, point_policy).best()
        assert result.prompt.tobytes() == best.prompt.tobytes()
        assert result.origin == best.origin
        assert result.trials == result.tuned.returns == result.yardstick.returns == []
        assert result.record is None


@pytest.mark.parametrize("candidates", [0, 1, 2])
def test_few_oracle_candidates_are_enough(point_policy, subjects, play, candidates):
    options = dataclasses.replace(OPTIONS, oracle_candidates=candidates)
    (result,) = tune(point_policy, subjects[:1], play, options, 2, 0, with_oracle=True)
    assert (result.oracle is None) == (candidates == 0)


def test_the_number_of_threads_changes_nothing(subjects):
    """At a width where the linear algebra of the bandit and of the encoding is split over threads."""
    module = LitPDT(2, 2, 30, context_steps=5, width=128, layers=1)
    policy = Policy(module.model.eval(), 5)
    seen = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            options = dataclasses.replace(OPTIONS, rounds=50, oracle_candidates=0)
            seen.append(plain(tune(policy, subjects[:1], RolloutPool(0, 4).with_policy(policy), options, 2, 0)[0]))
    assert seen[0] == seen[1]


def test_an_episode_that_failed_was_not_won_and_brought_the_least_that_is_known():
    won, failed = Outcome(9.0, 1.0, 5, last_success=1.0), Outcome(0.0, None, 1, failed="OSError")
    figures = EpisodeStatistics.of([won, failed, failed, won], "x", True, other_returns=[10.0, -3.0])
    assert figures == EpisodeStatistics([9.0, -3.0, -3.0, 9.0], [1.0, 0.0, 0.0, 1.0], 2, [1.0, 0.0, 0.0, 1.0])


def test_one_episode_played_of_many_does_not_speak_for_them(point_policy, subjects, play):
    """The tuned prompt's verdict is one win among failures; untuned episodes and demonstrations tell what else is."""
    judged = []

    def failing(rows):
        outcomes = play(rows)
        judged.append(len(rows))
        if len(judged) == 1 + 3 + 1:  # yardstick, three rounds of two, then the verdict
            return [
                Outcome(1000.0, 1.0, 3, last_success=1.0),
                *(Outcome(0.0, None, 0, failed="it broke") for _ in rows[1:]),
            ]
        return outcomes

    (result,) = tune(point_policy, subjects[:1], failing, OPTIONS, 2, 0)
    demonstrated = subjects[0].segments.episodes.index.returns
    played = [*result.yardstick.returns, *result.untuned.returns, *(trial.outcome.total for trial in result.trials)]
    assert result.tuned.failed == 2
    assert result.tuned.returns == [1000.0, *[min(*played, *demonstrated)] * 2]
    assert result.tuned.successes == [1.0, 0.0, 0.0]


def test_verdicts_are_on_episodes_that_the_tuner_never_saw(point_policy, subjects, play):
    seen = []

    def watching(rows):
        seen.append([row.seed for row in rows])
        return play(rows)

    (result,) = tune(point_policy, subjects[:1], watching, OPTIONS, 2, 0, with_oracle=True)
    searched = {trial.seed for trial in result.trials}
    verdict = seen[1 + 3]  # yardstick, three rounds of two, then the verdict
    assert len(searched) == 6
    assert len(verdict) == 3
    assert seen[1 + 3 + 1] == verdict  # the untuned prompts meet the same episodes
    assert not searched & set(verdict)


def test_the_verdict_has_a_seed_of_its_own(point_policy, subjects, play):
    """Whatever the seed of tuning is, so that choosing among runs by their tables is no choice of lucky episodes."""

    def verdicts(**changes):
        seen = []

        def watching(rows):
            seen.append([(row.seed, row.prompt.tobytes()) for row in rows])
            return play(rows)

        tune(point_policy, subjects[:1], watching, dataclasses.replace(OPTIONS, tuner="uniform", **changes), 2, 0)
        return seen[0], seen[1:-2], [seed for seed, _ in seen[-2]], seen[-1]  # yardstick, search, tuned, untuned

    first, again, other = verdicts(), verdicts(seed=1), verdicts(verdict_seed=1)
    assert [a == b for a, b in zip(first, again, strict=True)] == [False, False, True, True]
    assert [a == b for a, b in zip(first, other, strict=True)] == [True, True, False, False]


def test_the_best_found_starts_from_all_that_was_tried(point_policy, subjects):
    """Also from what is not recommended: here, by a tuner that recommends a random prompt."""

    def play(rows):
        return [Outcome(float(row.prompt.states.double().sin().sum()), None, 5) for row in rows]

    options = dataclasses.replace(OPTIONS, tuner="uniform", rounds=40, oracle_candidates=2, objective="return")
    for result in tune(point_policy, subjects, play, options, 2, 0, with_oracle=True):
        assert max(trial.outcome.total for trial in result.trials) <= result.oracle.returns[0]


def test_a_lucky_rollout_is_not_the_best_found():
    """Of a coin and of what always wins: fresh episodes tell them apart."""
    lucky, good = (
        Prompt(*(torch.full((1, 3, 1), kind) for _ in range(3)), torch.zeros(1, 3).long(), torch.ones(1, 3).bool())
        for kind in (0.0, 1.0)
    )
    pool = oracle.TriedPrompts(Task("t", "e"), Objective(outlook=Outlook(worst=0.0)))
    for prompt, values in ((lucky, [1.0, None]), (good, [1.0]), (lucky, [1.0])):
        pool.add(prompt, "here", values)
    assert (pool.values, pool.untried()) == ([[1.0, None, 1.0], [1.0]], [])

    def play(rows):
        return [Outcome(float(row.prompt is good or row.seed % 2), None, 3) for row in rows]

    assert oracle.best_of([pool], play, 8, 4, 0, 0) == [(good, "here")]


def test_given_prompts_are_judged_as_they_are(point_policy, subjects, play):
    prompt = subjects[0].segments.gather(np.array([[1, 2]]))
    options = dataclasses.replace(OPTIONS, rounds=0)
    chosen = {subjects[0].task.id: Recommendation(prompt, "here")}
    (result,) = tune(point_policy, subjects[:1], play, options, 2, 0, chosen=chosen)
    assert result.prompt is prompt
    assert result.origin == "here"
    assert result.trials == []
    check_prompt(prompt, subjects[0], 2)
    with pytest.raises(ValueError, match=r"prompt of point/03 has returns_to_go of shape"):
        check_prompt(prompt, subjects[0], 3)


def test_it_leaves_torchs_and_numpys_generators_alone(point_policy, subjects, play):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    expected = torch.rand(1), np.random.random()  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    for tuner in ("structured", "published"):
        tune(point_policy, subjects[:1], play, dataclasses.replace(OPTIONS, tuner=tuner), 2, 0)
    assert (torch.rand(1), np.random.random()) == expected  # noqa: NPY002


def test_all_rollouts_failing_is_an_error_that_names_the_task(point_policy, subjects):
    def failing(rows):
        return [Outcome(0.0, None, 0, failed="OSError: no simulator") for _ in rows]

    made = make_tuner("uniform", subjects[0].segments, 4, np.random.default_rng(0), 2, point_policy)
    with pytest.raises(RuntimeError, match="every rollout of point/03 failed; the last one: OSError: no simulator"):
        search([Cell(subjects[0].task, made, ("x",))], failing, 0)
    with pytest.raises(RuntimeError, match="point/03"):
        EpisodeStatistics.of(failing([1]), "point/03", True)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tuner", "magic"),
        ("objective", "fame"),
        ("rounds", -1),
        ("parallel", 0),
        ("verdict_episodes", -1),
    ],
)
def test_bad_options_are_named(option, value):
    with pytest.raises(ValueError, match=f"`tuning.{option}`={value}"):
        TuningOptions(**{option: value})


@pytest.mark.parametrize("option", ["features", "reward_model", "exploration", "credit"])
def test_bad_options_of_a_tuner_are_named(option):
    with pytest.raises(ValueError, match=f"`tuning.tuner_options.{option}`=x"):
        TuningOptions(tuner_options={option: "x"})


def test_a_task_is_given_up_whatever_becomes_of_the_others(point_policy, subjects):
    """One of two is broken; of the other, single episodes fail, never three in a row, though the phase runs twice."""

    def found(some):
        seeds: list[int] = []

        def play(rows):
            outcomes = []
            for row in rows:
                healthy = row.task.id == subjects[1].task.id
                seeds.extend([row.seed] if healthy and row.seed not in seeds else [])
                fails = not healthy or seeds.index(row.seed) in (0, 5, 6)
                outcomes.append(Outcome(1.0, None, 3, "broken" if fails else None))
            return outcomes

        options = dataclasses.replace(OPTIONS, objective="return", yardstick_episodes=7)
        return {one.task: plain(one) for one in tune(point_policy, some, play, options, 2, 0)}

    alone, both = found(subjects[1:2]), found(subjects[:2])
    assert alone == both
    assert list(alone) == [subjects[1].task.id]
