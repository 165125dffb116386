import os
import subprocess
import sys

import gymnasium as gym
import minari as upstream
import numpy as np
import pytest

from pdt_lightning.data import minari
from pdt_lightning.data.collect import collect, demonstrate
from pdt_lightning.tasks import make_family
from pdt_lightning.tasks.recorded import supported
from pdt_lightning.tasks.spaces import flatten


def episode(steps=4, **changes):
    rng = np.random.default_rng(0)
    values = {
        "states": rng.normal(size=(steps, 2)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
        "labels": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
        "rewards": rng.normal(size=steps),
        "success": 1.0,
    }
    return minari.Demonstration(**{**values, **changes})


def write(name, episodes):
    env = gym.make("pdt-lightning/Point-v0", goal=3)
    minari.write(name, episodes, [np.zeros(2)] * len(episodes), env, [False] * len(episodes), "test")


def test_what_is_written_is_read_again():
    written = [episode(4), episode(6, success=0.0)]
    write("test/again-v0", written)
    for before, after in zip(written, minari.read("test/again-v0"), strict=True):
        for name in ("states", "actions", "labels", "rewards", "success"):
            assert np.array_equal(getattr(before, name), getattr(after, name))
    executed = next(minari.read("test/again-v0", use_expert_actions=False))
    assert np.array_equal(executed.labels, written[0].actions)


def test_minari_itself_reads_it_and_recovers_the_environment():
    write("test/upstream-v0", [episode()])
    dataset = upstream.load_dataset("test/upstream-v0")
    assert dataset.total_steps == 4
    assert dataset.recover_environment().unwrapped.goal == 3


def test_datasets_without_our_extras_are_read():
    env = gym.make("pdt-lightning/Point-v0", goal=3)
    raw = upstream.data_collector.EpisodeBuffer(
        observations=np.zeros((4, 2)),
        actions=np.ones((3, 2), np.float32),
        rewards=np.ones(3),
        terminations=np.zeros(3, bool),
        truncations=np.array([False, False, True]),
    )
    options = {
        "env": env.spec,
        "eval_env": env.spec,
        "algorithm_name": "x",
        "author": "x",
        "author_email": "x",
        "code_permalink": "x",
    }
    upstream.create_dataset_from_buffers("test/plain-v0", [raw], description="x", **options)
    (read,) = minari.read("test/plain-v0")
    assert read.success is None
    assert np.array_equal(read.labels, read.actions)


def test_values_that_are_not_finite_are_refused():
    write("test/nan-v0", [episode(), episode(states=np.full((4, 2), np.nan, np.float32))])
    with pytest.raises(ValueError, match="test/nan-v0, episode 1: its observations are not all finite"):
        list(minari.read("test/nan-v0"))


def test_a_missing_dataset_is_named():
    with pytest.raises(FileNotFoundError, match="minari download no/such-v0"):
        list(minari.read("no/such-v0"))
    with pytest.raises(FileNotFoundError, match="no/such-v0"):
        collect(["no/such-v0"], {})


def test_unsupported_spaces_are_refused():
    box, discrete = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(3)
    supported("x", gym.spaces.Dict({"a": box}), box)
    supported("x", box, discrete)
    with pytest.raises(ValueError, match=r"x: actions of Tuple.* are not supported; use Box, Discrete"):
        supported("x", box, gym.spaces.Tuple([discrete, box]))
    with pytest.raises(ValueError, match=r"x: observations of Discrete.*1,000,000,000 numbers are too many"):
        supported("x", gym.spaces.Discrete(1_000_000_000), box)
    with pytest.raises(ValueError, match=r"x: observations.*images are not supported"):
        supported("x", gym.spaces.Dict({"a": gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)}), box)


def test_dict_observations_are_flattened_as_gymnasium_does():
    space = gym.spaces.Dict({"b": gym.spaces.Box(-9, 9, (2,)), "a": gym.spaces.Box(-9, 9, (1,))})
    steps = [space.sample() for _ in range(3)]
    recorded = {key: np.array([step[key] for step in steps]) for key in ("a", "b")}
    assert np.array_equal(flatten(recorded, space), [gym.spaces.flatten(space, step) for step in steps])


def test_a_write_that_is_killed_leaves_nothing_behind_that_looks_whole():
    code = (
        "import os, minari as upstream\n"
        "from pdt_lightning.data.collect import demonstrate\n"
        "from pdt_lightning.tasks import make_family\n"
        "from minari.dataset.minari_storage import MinariStorage\n"
        "before = MinariStorage.update_metadata\n"
        "MinariStorage.update_metadata = lambda *a: os._exit(9)\n"
        "family = make_family('point', {'collection_seed': 77})\n"
        "demonstrate(family.recipes[family.heldout_tasks[0].prompt_data[0]])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    family = make_family("point", {"collection_seed": 77})
    name = family.heldout_tasks[0].prompt_data[0]
    assert not minari.exists(name)
    demonstrate(family.recipes[name])
    assert len(list(minari.read(name))) == 5


def test_demonstrations_carry_noise_labels_and_the_experts_share():
    family = make_family("point", {"expert_share": 0.4, "action_noise": 0.3})
    name = family.heldout_tasks[0].prompt_data[0]
    assert collect([name], family.recipes, workers=1, progress=False) == 1
    assert collect([name], family.recipes, progress=False) == 0  # a second run finds it
    episodes = list(minari.read(name))
    lengths = np.linalg.norm(episodes[0].labels, axis=1)
    assert np.allclose(lengths, 1, atol=1e-5)  # the expert walks at full speed
    noise = np.concatenate([e.actions - e.labels for e in episodes[:2]])
    assert 0.1 < noise.std() < 0.4
    random = np.concatenate([e.actions - e.labels for e in episodes[2:]])
    assert np.array_equal(random, np.zeros_like(random))
    assert os.environ["MINARI_DATASETS_PATH"] in str(minari.path_of(name))
