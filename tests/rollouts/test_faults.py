"""Simulators that go wrong: the outcomes are those of a clean one, or the episode has failed.

Nothing ends and nothing hangs.
"""

import dataclasses
import os
import signal

import numpy as np
import pytest

from pdt_lightning.core import processes
from pdt_lightning.rollouts.engine import RolloutEngine
from pdt_lightning.rollouts.environment_cache import Environments
from pdt_lightning.rollouts.giving_up import GivingUp
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import Row, rollout
from pdt_lightning.tasks.metaworld import ML1Env, _idle_simulators


def rows_of(data, folder, seeds, times=1, name="point/03", **more):
    """An episode of each seed, in an environment that goes wrong as `tests.guests.faulty` tells."""
    task, segments = data.prompt_tasks[name], data.segments(name)
    kwargs = {"goal": 3, "folder": str(folder), "times": times}
    faulty = dataclasses.replace(task, env_id="tests.guests.faulty:Faulty-v0", env_kwargs=kwargs, **more)
    return [Row(faulty, segments.gather(np.array([[seed % 7, seed % 5]])), seed) for seed in seeds]


def clean(rows, policy, width=4):
    """What a simulator that never goes wrong makes of them."""
    never = [dataclasses.replace(row.task, env_kwargs={**row.task.env_kwargs, "times": 0}) for row in rows]
    return rollout(policy, [dataclasses.replace(row, task=task) for row, task in zip(rows, never, strict=True)], width)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_goes_wrong_once_is_played_again_and_ends_as_with_a_clean_simulator(
    point_data, point_policy, tmp_path, workers
):
    ways = (0, 1, 2, 3, 4) if workers else (0, 1, 2)  # what is played in this process can hang it and end it
    rows = rows_of(point_data, tmp_path, [10 * n + way for n in range(2) for way in ways])
    pool, seen = RolloutPool(workers, 4, step_timeout=4.0), []
    try:
        outcomes = pool.with_policy(point_policy, lambda own, done: seen.extend(zip(own, done, strict=True)))(rows)
    finally:
        pool.close()
    assert outcomes == clean(rows, point_policy)
    assert len(seen) == len(rows)  # each was reported once
    if workers:  # where one of a block hangs or dies, those that fall with it may have gone wrong unseen
        assert min(pool.faults["TimeoutError"], pool.faults["WorkerDied"]) >= 2  # more on a busy machine
        assert "2 x TimeoutError" in pool.report()
    else:
        assert [outcome.replays for outcome in outcomes] == [int(row.seed % 10 > 0) for row in rows]
        assert pool.faults == {"ArithmeticError": 2, "FloatingPointError": 2}


def test_what_goes_wrong_again_and_again_fails_and_then_its_task_is_given_up(point_data, point_policy, tmp_path):
    bad = rows_of(point_data, tmp_path, [1, 11, 21], times=99)
    good = rows_of(point_data, tmp_path, [0, 10], name="point/07")
    pool = RolloutPool(0, 4)
    play = GivingUp(pool.with_policy(point_policy))
    outcomes = play([good[0], *bad, good[1]])
    assert [outcome.failed is None for outcome in outcomes] == [True, False, False, False, True]
    assert [outcome.replays for outcome in outcomes] == [0, 2, 2, 2, 0]
    assert set(play.given_up) == {"point/03"}
    before = pool.faults.total()
    again = play([*rows_of(point_data, tmp_path, [0], times=99), good[0]])
    assert "point/03 was given up: 3 episodes failed one after the other" in again[0].failed
    assert again[1].failed is None
    assert pool.faults.total() == before


def test_an_environment_that_cannot_be_built_fails_its_row_alone(point_data, point_policy, tmp_path):
    broken = dataclasses.replace(point_data.prompt_tasks["point/03"], id="point/broken", env_kwargs={"goal": 99})
    rows = rows_of(point_data, tmp_path, [0, 10])
    outcomes = RolloutPool(0, 4).with_policy(point_policy)(
        [rows[0], dataclasses.replace(rows[0], task=broken), rows[1]]
    )
    assert "goal=99" in outcomes[1].failed
    assert [outcomes[0], outcomes[2]] == clean(rows, point_policy)


def test_a_worker_that_somebody_kills_is_no_end(point_data, point_policy, tmp_path):
    rows = rows_of(point_data, tmp_path, [10 * n for n in range(8)])
    pool = RolloutPool(1, 4)
    killed = []

    def kill_once(own, outcomes):
        if own and not killed:
            killed.append(pool._pool[0]._process.pid)
            os.kill(killed[0], signal.SIGKILL)

    try:
        outcomes = pool.with_policy(point_policy, kill_once)(rows)
    finally:
        pool.close()
    assert outcomes == clean(rows, point_policy)


def test_whoever_wants_no_more_leaves_no_worker_at_work(point_data, point_policy, tmp_path):
    rows = rows_of(point_data, tmp_path, [3], times=99)
    pool = RolloutPool(1, 4, step_timeout=None)

    def stop(own, outcomes):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        pool.with_policy(point_policy, stop)(rows)
    assert pool._pool == []


def test_a_policy_that_a_worker_cannot_use_is_no_endless_loop(point_data, point_policy, tmp_path):
    pool = RolloutPool(1, 4)
    rows = rows_of(point_data, tmp_path, [0])
    broken = [dataclasses.replace(rows[0], prompt=None)]
    try:
        with pytest.raises(RuntimeError, match="in a rollout worker: AttributeError"):
            pool.with_policy(point_policy)(broken)
    finally:
        pool.close()


def test_the_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    monkeypatch.setattr(processes.Path, "read_text", lambda path: "150000 100000\n")
    assert processes.cores() == 1
    monkeypatch.setattr(processes.Path, "read_text", lambda path: "max 100000\n")
    assert processes.cores() == 2


def test_a_simulator_that_went_wrong_is_not_lent_again():
    class Task:
        env_id, env_kwargs, horizon, reset_options = "one", {}, 10, ()

        def make_env(self):
            return ML1Env("pick-place-v3", np.zeros(6), 10)

    environments = Environments(1)
    env = environments.lend(Task())
    env._simulator = "broken"
    environments.take_back(Task(), env, sound=False)
    assert "broken" not in [one for idle in _idle_simulators.values() for one in idle]


class Lazy(RolloutEngine):
    """Plays nothing."""

    def blocks(self, policy, rows):
        yield [], []

    def close(self):
        pass


def test_an_engine_that_plays_nothing_is_no_endless_loop(point_data, point_policy, tmp_path):
    with pytest.raises(RuntimeError, match=r"Lazy\.blocks has played none of the rows"):
        Lazy().with_policy(point_policy)(rows_of(point_data, tmp_path, [0]))


def test_who_plays_nothing_may_be_asked_to_stop_too(point_policy):
    def stop(rows, outcomes):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        RolloutPool(0, 4).with_policy(point_policy, stop)([])
