"""Environments and data drawn out of what people have.

Our rollout sees and gets what was recorded, or a message says why not.

`PDT_LIGHTNING_DRAWS=2000 pytest -n0 tests/data/test_any_data.py` draws more.
"""

import os
import tempfile

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import (
    ClipAction,
    FlattenObservation,
    FrameStackObservation,
    NormalizeObservation,
    RescaleAction,
    TimeAwareObservation,
    TimeLimit,
)
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.rollouts.replay import replayed
from tests.walks import record, walk

DRAWS = int(os.environ.get("PDT_LIGHTNING_DRAWS", "20"))

WRAPPERS = {
    "none": lambda env: env,
    "clipped": ClipAction,
    "rescaled": lambda env: RescaleAction(env, -1.0, 1.0),
    "stacked": lambda env: FlattenObservation(FrameStackObservation(env, 2)),
    "stacked, in two dimensions": lambda env: FrameStackObservation(env, 3),
    "with time": lambda env: TimeAwareObservation(TimeLimit(env, 50)),
    "normalised": NormalizeObservation,
    "short": lambda env: TimeLimit(env, 6),
}

environments = st.fixed_dictionaries(
    {
        "goal": st.integers(0, 7),
        "box": st.sampled_from([5e-7, 0.3, 1.0, 3.0, 1e3, 1e6, float(np.finfo(np.float32).max), float("inf")]),
        "dtype": st.sampled_from(["float32", "float32", "float64", "float16", "int64"]),
        "parts": st.sampled_from([[], [], ["x", "y"], ["y", "x"], ["position", "Angle"], ["b", "a"]]),
        "success": st.sampled_from(["none", "number", "is_success", "nan at reset", "mapping", "vector"]),
        "offset": st.sampled_from([0.0, 0.0, 1.0, -1e3, 1e6]),
        "unit": st.sampled_from([1.0, 1.0, 1e-7, 1e-3, 1e4]),
        "moves": st.sampled_from(["box", "box", "matrix", "one", "two", "four"]),
        "fault": st.sampled_from(["", "", "", "", "unseeded"]),
    }
)
datasets = st.fixed_dictionaries(
    {
        "lengths": st.lists(st.integers(1, 12), min_size=3, max_size=5).map(tuple),
        "ended": st.booleans(),
        "options": st.sampled_from([None, None, {"goal": 3}]),
        "seed": st.integers(0, 99),
    }
)


@pytest.mark.filterwarnings("ignore")  # Gymnasium's, of huge boxes
@settings(
    max_examples=DRAWS,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(environments, datasets, st.sampled_from(list(WRAPPERS)), st.sampled_from([None, None, 3, 40]))
def test_what_is_recorded_is_seen_and_got_again(environment, dataset, wrapper, horizon):
    box = environment["box"]
    scale = box if box <= 3 and environment["dtype"] != "float16" else 1.0
    if environment["dtype"] == "float16":
        environment = {**environment, "box": 1.0}  # has no room for the others
    with tempfile.TemporaryDirectory() as folder:
        before, os.environ["MINARI_DATASETS_PATH"] = os.environ["MINARI_DATASETS_PATH"], folder
        try:
            try:
                env = WRAPPERS[wrapper](walk(gain=0.1 / scale, **environment))
            except (AssertionError, TypeError, ValueError):  # Gymnasium has no such wrapper for such an environment
                event("cannot be wrapped")
                return
            try:
                seeds = record(
                    "own/any-v0",
                    env,
                    episodes=len(dataset["lengths"]),
                    scale=1.0 if wrapper == "rescaled" else scale,
                    **dataset,
                )
            except Exception as error:  # nor does Minari record all
                event(f"cannot be recorded: {type(error).__name__}")
                return
            listed = {
                "training": [{"id": 0, "training_data": ["own/any-v0"]}],
                "held_out": [{"id": 1, "prompt_data": ["own/any-v0"], "horizon": horizon}],
            }
            try:
                data = MultiTaskDataModule("minari", listed, context_steps=3, segment_steps=1, progress=False)
                data.prepare_data()
                data.setup()
            except UserError as error:
                event(str(error).split(" (of ")[-1][12:60])
                return
            event("played")
            agrees(data, seeds)
        finally:
            os.environ["MINARI_DATASETS_PATH"] = before


def agrees(data, seeds):
    episodes, task = data.segments("1").episodes, data.heldout_tasks[0]
    size, actions = data.state_size, data.action_size
    steps = [
        episodes.steps[first:last] for first, last in zip(episodes.offsets[:-1], episodes.offsets[1:], strict=True)
    ]
    outcomes, first = replayed(task, [own[:, size : size + actions] for own in steps], seeds, size)
    assert [outcome.failed for outcome in outcomes] == [None] * len(seeds)
    seen = np.array([own[0, :size] for own in steps], np.float64)
    if episodes.steps.shape[1] > size + 2 * actions + 1:
        seen += [own[0, size + 2 * actions + 1 :] for own in steps]
    _, std = episodes.index.spread(np.arange(len(seeds)))
    assert (np.abs(first - seen) <= 1e-2 * std + 1e-7 * np.abs(seen)).all()
    assert np.allclose([outcome.total for outcome in outcomes], episodes.index.returns, rtol=1e-3, atol=1e-3)
    assert all(np.isfinite(values).all() for values in vars(data.statistics).values())
    assert (data.statistics.state_std > 0).all()
    assert (data.statistics.action_half > 0).all()
    # A saved prompt's environment is the same one.
    env = gym.make(gym.envs.registration.EnvSpec.from_json(task.facts()["environment"]))
    env.reset(seed=seeds[0])
