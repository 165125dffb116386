"""What the jobs of a comparison leave for the best found to start from, and how failures count over all of them."""

import dataclasses
import json

import numpy as np
import pytest

from pdt_lightning.comparison.plan import Job, Plan
from pdt_lightning.comparison.summary import Results
from pdt_lightning.comparison.tried import add_tried, save_prompts
from pdt_lightning.comparison.work import _phase_episodes
from pdt_lightning.data.segments import Prompt
from pdt_lightning.tuning.objective import Objective
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.oracle import TriedPrompts
from pdt_lightning.tuning.subject import Subject


@pytest.fixture
def plan():
    options = TuningOptions(rounds=2, verdict_episodes=4)
    return Plan(("a",), ("point/03",), ("hill_climbing", "uniform"), 1, 2, options, "32-true", 4)


@pytest.fixture
def segments(point_data):
    return point_data.segments("point/03")


def leave(plan, folder, name, recommended, trials=()):
    file = Job(0, name).file(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"checkpoint": 0, "tuner": name, "recommended": recommended, "trials": list(trials)}))


def trial(total, task="point/03"):
    known = {"success": None, "last_success": None, "length": 3, "seed": 0, "round": 0}
    return {"task": task, "return": total, "origin": "tried", **known}


def judged(**changes):
    known = {
        "task": "point/03",
        "seed": 0,
        "rollouts": 2,
        "return": 5.0,
        "success": None,
        "last_success": None,
        "failed": 0,
    }
    return {**known, "episodes": 4, "lowest": 5.0, "segments": [], "origin": "judged", **changes}


def test_the_pool_has_what_was_tried_and_what_was_recommended_whatever_it_is_made_of(
    plan, segments, point_data, tmp_path
):
    prompts = segments.gather(np.array([[4, 5], [8, 9], [0, 1], [2, 3], [6, 7]]))
    moved = dataclasses.replace(prompts, states=prompts.states + 0.5)  # of values, not of segments
    row, other = judged(origin="values"), trial(1.0)
    kept = Job(0, "hill_climbing").file(tmp_path).with_suffix(".safetensors")
    save_prompts([row, other], [moved[[0]], moved[[0]]], kept)
    assert len(Prompt.load(kept)) == 1
    leave(plan, tmp_path, "hill_climbing", [row], [other])
    rows = [judged(), trial(3.0), trial(None), trial(7.0), trial(9.0, "another")]
    which = [1, 2, 2, 3, 4]
    save_prompts(rows, [prompts[[n]] for n in which], Job(0, "uniform").file(tmp_path).with_suffix(".safetensors"))
    leave(plan, tmp_path, "uniform", rows[:1], rows[1:])
    pool = TriedPrompts(point_data.heldout_tasks[0], Objective())
    add_tried(pool, plan, 0, tmp_path)
    expected = [moved[[0]], prompts[[1]], prompts[[2]], prompts[[3]]]
    assert [prompt.tobytes() for prompt in pool.prompts] == [prompt.tobytes() for prompt in expected]
    assert pool.origins == ["values", "judged", "tried", "tried"]
    assert pool.values == [[1.0], [], [3.0, None], [7.0]]


def test_the_best_found_comes_last(plan):
    assert [job.name for job in plan.jobs()] == ["hill_climbing", "uniform", "oracle"]


def test_an_episode_that_failed_counts_as_the_worst_that_any_job_knows(plan, tmp_path):
    leave(plan, tmp_path, "hill_climbing", [judged(failed=3)], [trial(None), trial(-7.0)])
    leave(plan, tmp_path, "uniform", [judged(lowest=1.0)], [trial(2.0)])
    leave(plan, tmp_path, "oracle", [judged(rollouts=0)])
    results = Results(plan, tmp_path)
    returns = {row["tuner"]: row["return"] for row in results.recommended}
    assert returns == {"hill_climbing": (5 - 3 * 7) / 4, "uniform": 5.0, "oracle": 5.0}
    assert results.lowest == {"point/03": -7.0}


def test_fresh_episodes_differ_between_checkpoints_and_seeds(plan, segments, point_data):
    subject, prompt = Subject(point_data.heldout_tasks[0], segments), segments.gather(np.array([[0, 1]]))
    seeds = [
        row.seed
        for checkpoint in (0, 1)
        for seed in (0, 1)
        for row in _phase_episodes(plan, checkpoint, seed).evaluation_rows(subject, prompt)
    ]
    assert len(set(seeds)) == 2 * 2 * 4
