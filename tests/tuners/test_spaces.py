"""Prompts of every kind are proposed, judged, journaled, saved, loaded and drawn alike."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from pdt_lightning.core.plain import plain
from pdt_lightning.data.segments import Prompt
from pdt_lightning.results import figures, report
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.tuners import TUNERS, Tuner
from pdt_lightning.tuners.spaces import Choices, Listed, Space, Values
from pdt_lightning.tuning.journal import Journal
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import Recommendation, tune
from pdt_lightning.tuning.record import Record
from pdt_lightning.tuning.subject import Subject


class Mirrored(Space):
    """Segments whose states have the other sign: made of no demonstrated segment as it is."""

    def __init__(self, segments, slots):
        self.segments, self.slots = segments, slots

    def prompt(self, point):
        prompt = self.segments.gather(np.full((1, self.slots), point))
        return dataclasses.replace(prompt, states=-prompt.states)

    def describe(self, point):
        return f"the mirror image of {self.segments.describe(point)}"

    def restored(self, values):
        return values


class MirrorTuner(Tuner):
    """Tries one after the other and recommends the last: all that a tuner of a kind of its own has to say."""

    def __init__(self, segments, budget, rng, slots):
        super().__init__(segments, budget, rng, slots)
        self.space = Mirrored(segments, slots)

    def _propose(self, n):
        return list(range(self.asked, self.asked + n))

    def _best(self):
        return len(self.told), float("nan")


@pytest.fixture
def subject(point_data):
    task = point_data.heldout_tasks[0]
    return Subject(task, point_data.segments(task.id))


@pytest.fixture
def tuned(point_policy, subject, monkeypatch):
    """Makes the result of a tuner, by its name."""
    monkeypatch.setitem(TUNERS, "mirror", MirrorTuner)

    def made(name, play=None):
        options = TuningOptions(tuner=name, rounds=4, verdict_episodes=3, oracle_candidates=2)
        return tune(
            point_policy,
            [subject],
            play or RolloutPool(0, 4).with_policy(point_policy),
            options,
            2,
            0,
            with_oracle=True,
        )[0]

    return made


KINDS = {
    "random_search": "steps 1-3 of demonstration",
    "hill_climbing": "away from steps",
    "mirror": "the mirror image of steps 5-7 of demonstration 1",
}


def test_choices_by_hand(segments):
    space = Choices(segments, 2)
    assert space.describe((0, 2)) == "steps 1-3 of demonstration 1; steps 3-5 of demonstration 1"
    assert space.prompt((0, 2)).tobytes() == segments.gather(np.array([[0, 2]])).tobytes()
    assert space.made_of((0, 2)) == space.restored(plain((0, 2))) == (0, 2)
    drawn = {space.sample(np.random.default_rng(seed)) for seed in range(20)}
    assert len(drawn) == 20
    assert all(0 <= segment < len(segments) for choice in drawn for segment in choice)


def test_a_list_of_prompts_by_hand(segments):
    space = Listed(segments, np.array([[4, 5], [0, 2]]))
    assert space.made_of((1,)) == (0, 2)
    assert space.describe((1,)) == Choices(segments, 2).describe((0, 2))
    assert space.prompt((1,)).tobytes() == segments.gather(np.array([[0, 2]])).tobytes()
    assert {space.sample(np.random.default_rng(seed)) for seed in range(20)} == {(0,), (1,)}


def test_values_by_hand(segments, point_policy):
    first, model = segments.gather(np.array([[0, 2]])), point_policy.model
    space = Values(first, "here", model)
    assert len(space.start) == 6 * (1 + 2 + 2)
    assert space.describe(space.start) == "here"
    moved = space.start + np.where(np.arange(30) < 6, 1.0, 0.0)  # the returns-to-go alone: sqrt(6 / 30) on average
    assert space.describe(moved) == "values 0.45 away from here"
    assert space.made_of(moved) == ()
    prompt = space.prompt(moved)
    assert torch.allclose(prompt.returns_to_go, first.returns_to_go + 1)
    assert torch.allclose(prompt.states, first.states, atol=1e-5)
    further = space.prompt(space.start + np.where((np.arange(30) >= 6) & (np.arange(30) < 18), 2.0, 0.0))
    assert torch.allclose(further.states, first.states + 2 * model.state_std, atol=1e-5)
    assert space.point(prompt) == pytest.approx(moved, abs=1e-5)
    assert np.array_equal(space.restored(json.loads(json.dumps(plain(moved)))), moved)
    noise = space.neighbour(space.start, np.random.default_rng(0), 0.5) - space.start
    assert noise == pytest.approx(0.5 * np.random.default_rng(0).standard_normal(30))


@pytest.mark.parametrize("name", KINDS)
def test_a_prompt_of_any_kind_is_saved_loaded_and_judged_again(name, tuned, point_policy, subject, tmp_path):
    result = tuned(name)
    report.write_phase(tmp_path, [result], {subject.task.id: subject.task}, name)
    prompt, origin = Prompt.load_with_origin(tmp_path / "prompts" / f"{result.task}.safetensors")
    assert prompt.tobytes() == result.prompt.tobytes()
    assert "of demonstration" in origin == result.origin
    assert json.loads((tmp_path / "summary.json").read_text())["tasks"][result.task]["prompt"] == origin
    rows = [line.split(",") for line in (tmp_path / "tuning.csv").read_text().splitlines()[1:]]
    assert [row[5] for row in rows] == [trial.candidate.origin for trial in result.trials]
    options = TuningOptions(rounds=0, verdict_episodes=3)
    play = RolloutPool(0, 4).with_policy(point_policy)
    chosen = {result.task: Recommendation(prompt, origin)}
    (again,) = tune(point_policy, [subject], play, options, 2, 0, chosen=chosen)
    assert again.tuned.returns == result.tuned.returns
    assert again.origin == origin


@pytest.mark.parametrize("name", KINDS)
def test_a_prompt_of_any_kind_is_drawn(name, tuned, tmp_path):
    made = tuned(name).record
    made.save(tmp_path / "record")
    read = Record.load(tmp_path / "record")
    assert read.origin == made.origin
    assert (read.choices < 0).all() == (name != "random_search")
    figure = figures.segments(read)
    _, *planes, _ = figure.axes
    for slot, plane in enumerate(planes):
        (way,) = [line for line in plane.lines if line.get_color() == figures.CHOSEN]
        assert way.get_xydata().tolist() == made.way[3 * slot : 3 * slot + 3].tolist()
    words = " ".join(figure.legends[0].get_texts()[0].get_text().split())
    assert words == f"the recommended prompt: {made.origin}"


@pytest.mark.parametrize("name", KINDS)
def test_a_phase_with_prompts_of_any_kind_goes_on_exactly_from_its_journal(name, tuned, point_policy, tmp_path):
    pool, whole = RolloutPool(0, 4), tuned(name)
    journal = Journal(tmp_path / "0_rank_0.jsonl", point_policy, 4)
    tuned(name, pool.with_policy(point_policy, journal.add))
    journal.close()
    text = (tmp_path / "0_rank_0.jsonl").read_text().splitlines()
    (tmp_path / "0_rank_0.jsonl").write_text("\n".join(text[: len(text) // 2]))  # stopped half-way
    again, played = Journal(tmp_path / "0_rank_0.jsonl", point_policy, 4), []
    play = again.replay(pool.with_policy(point_policy, lambda rows, _: played.extend(rows)), lambda known: None)
    result = tuned(name, play)
    again.close()
    assert 0 < len(played) < len(text)
    assert result.prompt.tobytes() == whole.prompt.tobytes()
    assert (result.origin, result.tuned, result.oracle) == (whole.origin, whole.tuned, whole.oracle)
    assert [trial.outcome for trial in result.trials] == [trial.outcome for trial in whole.trials]
