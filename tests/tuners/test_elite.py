"""Elite: whom it tries, who becomes an arm, and the episodes that are handed on to it through rollouts and journal."""

import contextlib
import json

import numpy as np
import pytest

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.minari import Demonstration
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.replay import replayed
from pdt_lightning.rollouts.rollout import Outcome, Row, rollout
from pdt_lightning.tuners import Elite, RandomSearch
from pdt_lightning.tuners.outlook import Outlook
from pdt_lightning.tuning.journal import Journal
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import tune
from pdt_lightning.tuning.search import Cell, search
from pdt_lightning.tuning.subject import Subject
from tests.conftest import untrained


@pytest.fixture(scope="module")
def policy(point_data):
    return Policy(untrained(point_data, attention="window").model, 5)


@pytest.fixture
def subject(point_data):
    task = point_data.heldout_tasks[0]
    return Subject(task, point_data.segments(task.id))


def made(segments, budget=40, seed=0, slots=2, **options):
    return Elite(segments, budget, np.random.default_rng(seed), slots, **options)


def walk(length, offset=0.0):
    """An episode that goes along a line, rewarded at its end."""
    states = np.arange(length)[:, None] * np.array([1.0, -1.0]) + offset
    actions = np.full((length, 2), 0.25, np.float32)
    return Demonstration(states, actions, actions, np.append(np.zeros(length - 1), 10.0), 1.0, True)


def test_the_upper_bound_by_hand(segments):
    """Shares 0.5 of two rollouts, 0.75 of one and 0 of one; the best known is 1, and four rollouts were made."""
    tuner = made(segments, start=3)
    tuner.outlook = Outlook(worst=0.0, demonstrated=8.0)
    for arm, values in zip(range(3), ([2.0, 6.0], [6.0], [0.0]), strict=True):
        for value in values:
            tuner.pending[100 + len(tuner.told)] = tuner.arms[arm]
            tuner.tell([(100 + len(tuner.told), value)])
    bounds = [0.5 + np.sqrt(np.log(4) / 4), 0.75 + np.sqrt(np.log(4) / 2), np.sqrt(np.log(4) / 2)]
    assert tuner._arm([]) == tuner.arms[int(np.argmax(bounds))] == tuner.arms[1]
    tuner.exploration = 0.0
    assert tuner._arm([]) == tuner.arms[1]
    tuner.exploration = 1.0
    # Open ones count as tried: 0.75 + sqrt(log 13 / 20) is below 0.5 + sqrt(log 13 / 4).
    assert tuner._arm([tuner.arms[1]] * 9) == tuner.arms[0]
    assert tuner._arm([tuner.arms[1]] * 9 + [tuner.arms[0]] * 9) == tuner.arms[2]


def test_arms_are_tried_once_first_and_every_second_rollout_is_cut_from_the_best_one(segments):
    tuner, origins = made(segments, start=2), []
    for value in (1.0, 5.0, 2.0, 6.0, 3.0, 7.0):
        (one,) = tuner.ask()
        origins.append((one.origin.count("demonstration"), one.origin.count("rollout"), bool(one.choice)))
        tuner.tell([(one.id, value)], {one.id: walk(8, float(one.id))})
    assert origins == [(2, 0, True), (0, 2, False)] * 2 + [(0, 2, False)] * 2  # both arms, then the best of all arms
    assert [number for number, _ in tuner.space.own] == [0, 1, 3, 5]  # those that did better than all before
    assert len(tuner.arms) == 5
    assert tuner.best_value() == pytest.approx((2 * 4.0 + 7.0) / 3)  # drawn towards the mean of all


def test_a_prompt_becomes_an_arm_only_above_the_best_mean(segments):
    tuner = made(segments, start=1)
    (first,) = tuner.ask()
    tuner.tell([(first.id, 4.0)], {0: walk(5)})
    (own,) = tuner.ask()
    tuner.tell([(own.id, 4.0)], {1: walk(5)})
    assert len(tuner.arms) == 1
    tuner.tell([(one.id, 0.0) for one in tuner.ask()])  # the arm again, whose mean falls to 2
    (own,) = tuner.ask()
    tuner.tell([(own.id, 3.0)])
    assert len(tuner.arms) == 2
    for _ in range(4):
        tuner.tell([(one.id, None) for one in tuner.ask()])
    assert len(tuner.arms) == 2


def test_segments_of_a_rollout_by_hand(segments, policy):
    tuner = made(segments, slots=1)
    before, count = segments.gather(np.array([[0], [5]])), len(segments)
    tuner.tell([(one.id, 1.0) for one in tuner.ask()], {0: walk(5)})
    assert tuner.space.prompt((5,)).tobytes() == before[[1]].tobytes()  # the demonstrations' numbers stay
    assert len(tuner.space.segments) == count + 3
    prompt = tuner.space.prompt((count + 2,))
    assert prompt.states[0].tolist() == [[2.0, -2.0], [3.0, -3.0], [4.0, -4.0]]
    assert prompt.returns_to_go[0].tolist() == [[1.0]] * 3  # 10 to come, in units of the task's scale of 10
    assert prompt.timesteps[0].tolist() == [2, 3, 4]
    assert tuner.space.describe((count + 2,)) == "steps 3-5 of rollout 1"
    assert (tuner.space.made_of((count,)), tuner.space.made_of((count - 1,))) == ((), (count - 1,))
    assert {tuner.space.of_episode(len(segments.episodes), np.random.default_rng(s)) for s in range(30)} == {
        (count + n,) for n in range(3)
    }
    tuner.tell([(one.id, 9.0) for one in tuner.ask()], {1: walk(2)})  # too short to be cut into segments
    assert len(tuner.space.own) == 1


def better_and_better(candidate):
    """A prompt is worth what its states are, and what is done with it reaches a little further."""
    value = float(candidate.prompt.states[0, :, 0].mean())
    steps = np.full((6, 2), value + 1.0)
    return value, Demonstration(steps, steps.astype(np.float32), steps.astype(np.float32), np.zeros(6))


@pytest.mark.parametrize("parallel", [1, 4])
def test_it_gets_beyond_poor_demonstrations_where_no_choice_of_their_segments_can(segments, parallel):
    elite, random = made(segments, 40), RandomSearch(segments, 40, np.random.default_rng(0), 2)
    for tuner in (elite, random):
        while candidates := tuner.ask(parallel):
            played = {one.id: better_and_better(one) for one in candidates}
            tuner.tell(
                [(number, value) for number, (value, _) in played.items()], {n: e for n, (_, e) in played.items()}
            )
    limit = float(segments.episodes.steps[:, 0].max())
    assert better_and_better(random.best())[0] <= limit
    assert better_and_better(elite.best())[0] > limit + 2
    assert "of rollout" in elite.best().origin


@pytest.mark.parametrize("stop", [1, 2, 7, 12])
def test_restored_with_its_rollouts_it_goes_on_exactly(segments, stop):
    def go(tuner, rounds):
        for _ in range(rounds):
            played = {one.id: better_and_better(one) for one in tuner.ask(2)}
            failed = {number for number in played if number % 5 == 4}
            tuner.tell(
                [(number, None if number in failed else value) for number, (value, _) in played.items()],
                {number: episode for number, (_, episode) in played.items() if number not in failed},
            )

    whole, part, restored = made(segments), made(segments), made(segments, seed=9)
    go(whole, stop)
    go(part, stop)
    pending = whole.ask(1), part.ask(1)
    restored.load_state_dict(json.loads(json.dumps(part.state_dict())))
    for tuner, ((one,),) in zip((whole, restored), [(own,) for own in pending], strict=True):
        value, episode = better_and_better(one)
        tuner.tell([(one.id, value)], {one.id: episode})
        go(tuner, 6)
    assert restored.values == whole.values
    assert restored.best().prompt.tobytes() == whole.best().prompt.tobytes()
    assert restored.best().origin == whole.best().origin


def test_what_is_recorded_is_what_was_seen_and_done(subject, policy):
    """Played again, the actions bring the same outcome from the same start."""
    task, prompt = subject.task, subject.segments.gather(np.array([[0, 9]]))
    plain, kept = rollout(policy, [Row(task, prompt, 7), Row(task, prompt, 7, recorded=True)], width=4)
    assert plain == kept
    assert plain.episode is None
    episode = kept.episode
    assert len(episode.states) == len(episode.actions) == len(episode.rewards) == kept.length
    assert episode.rewards.sum() == kept.total
    assert episode.success == kept.success
    assert episode.ended == (kept.length < task.horizon or episode.rewards[-1] != 0)
    (again,), first = replayed(task, [episode.actions], [7], 2)
    assert again.total == kept.total
    assert first[0].tolist() == episode.states[0].tolist()
    (broken,) = rollout(policy, [Row(task, prompt, 7, recorded=True)], width=1)
    restored = Outcome.restored(json.loads(json.dumps(broken.plain())))
    for name in ("states", "actions", "labels", "rewards"):
        assert getattr(restored.episode, name).tobytes() == getattr(broken.episode, name).tobytes()
        assert getattr(restored.episode, name).dtype == getattr(broken.episode, name).dtype


def test_an_outcome_without_its_episode_does_not_do_for_one_who_wants_it(subject, policy, tmp_path):
    prompt = subject.segments.gather(np.array([[0, 9]]))
    rows = [Row(subject.task, prompt, 1), Row(subject.task, prompt, 1, recorded=True)]
    pool = RolloutPool(0, 4)

    def play(rows):
        played = []
        with contextlib.closing(Journal(tmp_path / "0_rank_0.jsonl", policy, 4)) as journal:

            def keep(rows, outcomes):
                played.extend(rows)
                journal.add(rows, outcomes)

            return journal.replay(pool.with_policy(policy, keep), lambda known: None)(rows), len(played)

    assert play(rows[:1])[1] == 1
    (kept,), count = play(rows[1:])
    assert count == 1
    (again,), count = play(rows[1:])
    assert count == 0
    assert again.episode.states.tobytes() == kept.episode.states.tobytes()
    assert play(rows[:1]) == ([again], 0)


def test_only_those_who_want_episodes_cost_any(subject, segments):
    seen = {}

    def play(rows):
        seen["recorded"] = {row.recorded for row in rows}
        return [Outcome(1.0, None, 5, episode=walk(5) if row.recorded else None) for row in rows]

    for tuner, wanted in ((made(segments, 4), True), (RandomSearch(segments, 4, np.random.default_rng(0), 2), False)):
        cell = Cell(subject.task, tuner, ("here",))
        search([cell], play, 0)
        assert seen["recorded"] == {wanted}
        assert all(trial.outcome.episode is None for trial in cell.trials)


def test_a_phase_goes_on_exactly_from_its_journal(subject, policy, tmp_path):
    options = TuningOptions(tuner="elite", rounds=12, verdict_episodes=3, oracle_candidates=2)

    def tuned(play):
        return tune(policy, [subject], play, options, 2, 0, with_oracle=True)[0]

    pool, path = RolloutPool(0, 4), tmp_path / "0_rank_0.jsonl"
    whole = tuned(pool.with_policy(policy))
    journal = Journal(path, policy, 4)
    tuned(pool.with_policy(policy, journal.add))
    journal.close()
    text = path.read_text().splitlines()
    path.write_text("\n".join(text[: len(text) // 2]))  # stopped half-way
    again, played = Journal(path, policy, 4), []
    result = tuned(again.replay(pool.with_policy(policy, lambda rows, _: played.extend(rows)), lambda known: None))
    again.close()
    assert 0 < len(played) < len(text)
    assert any("of rollout" in trial.candidate.origin for trial in whole.trials)
    assert [trial.candidate.origin for trial in result.trials] == [trial.candidate.origin for trial in whole.trials]
    assert [trial.outcome for trial in result.trials] == [trial.outcome for trial in whole.trials]
    assert result.prompt.tobytes() == whole.prompt.tobytes()
    assert (result.origin, result.tuned, result.oracle) == (whole.origin, whole.tuned, whole.oracle)


def test_it_may_start_without_any_demonstration_of_the_task(point_data, segments):
    tuner = made(segments, start=3, start_from="training_tasks", seed=4)
    pool, space = point_data.training_pool, tuner.space
    assert len(tuner.arms) == 3
    assert len(set(space.tasks)) == 3
    for number, arm in enumerate(tuner.arms):
        assert {int(space.segments.episode[segment]) for segment in arm} == {number}
        of_task = pool.members[pool.episodes.task[pool.members] == space.tasks[number]]
        own = space.segments.episodes.of_task(number)
        assert any(
            np.array_equal(own.steps, pool.episodes.steps[pool.episodes.offsets[e] : pool.episodes.offsets[e + 1]])
            for e in of_task
        )
        assert own.scales == pool.episodes.scales[space.tasks[number]]
        assert space.made_of(arm) == ()
        assert space.describe(arm).count(f"of a demonstration of training task {space.tasks[number] + 1}") == 2
    other = made(segments, start=3, start_from="training_tasks", seed=5)
    for n, value in enumerate((1.0, 5.0, 2.0, 6.0)):
        (one,) = tuner.ask()
        tuner.tell([(one.id, value)], {one.id: walk(8, float(n))})
    other.load_state_dict(json.loads(json.dumps(tuner.state_dict())))
    (one,), (again,) = tuner.ask(), other.ask()
    assert one.origin == again.origin
    assert one.prompt.tobytes() == again.prompt.tobytes()
    # A rollout's returns-to-go are in units of the task itself, whatever the scales of the others are.
    space.segments.episodes.scales[:3] = 77.0
    grown = space.prompt(space.of_episode(len(space.segments.episodes) - 1, np.random.default_rng(0)))
    assert grown.returns_to_go[0, 0, 0].item() == pytest.approx(10.0 / segments.episodes.scales[0])


def test_what_the_task_demonstrates_does_not_matter_then(segments):
    """The same arms and bounds, whatever the best demonstrations bring."""
    tried = []
    for demonstrated in (8.0, 800.0):
        tuner = made(segments, start=2, start_from="training_tasks")
        tuner.outlook = Outlook(worst=0.0, demonstrated=demonstrated)
        origins = []
        for value in (1.0, 5.0, 2.0, 6.0, 3.0, 7.0):
            (one,) = tuner.ask()
            origins.append(one.origin)
            tuner.tell([(one.id, value)])
        tried.append(origins)
    assert tried[0] == tried[1]


def test_training_tasks_have_to_be_known(segments):
    with pytest.raises(UserError, match="start from the task"):
        made(Segments(segments.episodes, segments.steps), start_from="training_tasks")
    with pytest.raises(UserError, match="start_from"):
        made(segments, start_from="tasks")
