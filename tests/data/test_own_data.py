"""Datasets as other people record them: right, or refused by name before anything is trained."""

import dataclasses
import shutil

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.wrappers import (
    ClipAction,
    FlattenObservation,
    FrameStackObservation,
    NormalizeObservation,
    NormalizeReward,
    TimeLimit,
    TransformReward,
)

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.data.facts import Facts
from pdt_lightning.data.minari import path_of
from pdt_lightning.rollouts.environment_cache import reports_success
from pdt_lightning.rollouts.prompted import PromptedPolicy
from pdt_lightning.rollouts.replay import replayed
from pdt_lightning.tasks import Task, make_family
from pdt_lightning.tasks.spaces import flatten, from_text
from pdt_lightning.tuning.objective import decide
from pdt_lightning.tuning.result import EpisodeStatistics
from pdt_lightning.tuning.subject import Subject
from tests.walks import edit, record, walk


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Datasets of one's own, in a folder of their own."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def laid_out(training, held_out, **options):
    """Data of tasks given by their datasets, checked and read."""
    listed = {
        "training": [{"id": f"walk/{n}", "training_data": [name]} for n, name in enumerate(training)],
        "held_out": [{"id": "walk/h", "prompt_data": [held_out], **options}],
    }
    data = MultiTaskDataModule(family="minari", family_options=listed, context_steps=4, segment_steps=2, progress=False)
    data.prepare_data()
    data.setup()
    return data


def one_task(maker, name="own/a-v0", **more):
    """Data whose only task is trained on and tuned, and the seeds of its episodes."""
    seeds = record(name, maker, **more)
    return laid_out([name], name), seeds


def agrees(data, seeds, tolerance=1e-5):
    """Whether our rollout sees what was recorded, and gets what was recorded."""
    pool, task = data.training_pool.episodes, data.heldout_tasks[0]
    rows = [pool.steps[first:last] for first, last in zip(pool.offsets[:-1], pool.offsets[1:], strict=True)]
    size, actions = data.state_size, data.action_size
    outcomes, first = replayed(task, [own[:, size : size + actions] for own in rows], seeds, size)
    recorded = np.array([own[0, :size] for own in rows])
    assert [outcome.failed for outcome in outcomes] == [None] * len(seeds)
    assert np.allclose(first, recorded, rtol=1e-6, atol=1e-6)
    assert np.allclose([outcome.total for outcome in outcomes], pool.index.returns, rtol=tolerance, atol=tolerance)


def refused(*words, making=lambda: None):
    with pytest.raises(UserError) as error:
        making()
    assert [word for word in words if word not in str(error.value)] == [], error.value


# Specifications and spaces


def test_minari_reads_specifications_of_older_gymnasiums(own):
    seeds = record("own/old-v0", walk(goal=3))
    older = {"autoreset": False, "apply_api_compatibility": False, "order_enforce": True}
    edit(
        "own/old-v0",
        lambda spec: {**{"id": spec["id"]}, **older, **{k: v for k, v in spec.items() if k != "id"}},
        spec=True,
    )
    agrees(laid_out(["own/old-v0"], "own/old-v0"), seeds)


def test_what_minari_cannot_read_is_said_with_its_reason(own):
    record("own/new-v0", walk())
    edit("own/new-v0", lambda known: known.update(minari_version="9.9.9"))
    refused("own/new-v0", "does not support", "9.9.9", "Install", making=lambda: laid_out(["own/new-v0"], "own/new-v0"))
    edit("own/new-v0", lambda known: known.update(minari_version="0.4.3"))
    laid_out(["own/new-v0"], "own/new-v0")
    edit("own/new-v0", lambda known: known.update(data_format="arrow"))
    with pytest.raises(UserError, match="pyarrow") as error:
        laid_out(["own/new-v0"], "own/new-v0")
    assert "Remove" not in str(error.value)


@pytest.mark.parametrize("parts", [("x", "y"), ("y", "x")])
def test_parts_of_an_observation_come_in_one_order(own, parts, point_policy, point_data):
    data, seeds = one_task(walk(goal=2, parts=parts))
    agrees(data, seeds)
    # And so they do for a saved prompt, as a Dict and as Gymnasium flattens it.
    prompt = point_data.segments("point/03").gather(np.array([[3, 11]]))
    policy = PromptedPolicy(point_policy, prompt, data.heldout_tasks[0].facts())
    env = gym.make(policy.environment)
    seen, _ = env.reset(seed=seeds[0])
    flat, _ = FlattenObservation(env).reset(seed=seeds[0])
    states = [policy._flatten(observation).tolist() for observation in (seen, flat)]
    assert states[0] == states[1] == pytest.approx(data.training_pool.episodes.steps[0, :2].tolist())


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"observation_space": Box(-np.inf, np.inf, (3,), np.float64)}, ["observations", "(3,)", "(2,)"]),
        ({"action_space": Box(-3.0, 3.0, (2,), np.float32)}, ["actions", "3.0", "1.0"]),
        ({"action_space": Box(-1, 1, (2,), np.int64)}, ["actions", "int64", "float32"]),
    ],
)
def test_a_dataset_unlike_its_environment_is_refused(own, space, words):
    from minari.serialization import serialize_space

    record("own/a-v0", walk())
    ((key, changed),) = space.items()
    edit("own/a-v0", lambda known: known.update({key: serialize_space(changed)}))
    refused("own/a-v0", "unlike those of tests/Walk-v0", *words, making=lambda: laid_out(["own/a-v0"], "own/a-v0"))


def test_parts_of_other_names_are_refused(own):
    record("own/a-v0", walk(parts=("x", "z")))
    edit("own/a-v0", lambda spec: {**spec, "kwargs": {"parts": ["x", "y"]}}, spec=True)
    refused("parts x, z against x, y", making=lambda: laid_out(["own/a-v0"], "own/a-v0"))


def test_a_box_that_was_flattened_already_is_one(own):
    data, seeds = one_task(FlattenObservation(FrameStackObservation(walk(), 2)))
    agrees(data, seeds)
    assert data.heldout_tasks[0].facts()["observation_space"] is None


def test_observations_of_many_kinds_become_vectors(own, point_policy):
    gym.register("tests/Rooms-v0", entry_point="tests.walks:Rooms")
    data, seeds = one_task(gym.make("tests/Rooms-v0", goal=2, disable_env_checker=True))
    assert data.state_size == (2 + 4) + (2 + 3) + 4 + 2  # both, doors, room, seen
    agrees(data, seeds)
    facts = data.heldout_tasks[0].facts()
    env = gym.make_vec(
        gym.envs.registration.EnvSpec.from_json(facts["environment"]), num_envs=2, vectorization_mode="sync"
    )
    seen, _ = env.reset(seed=seeds[:2])
    first = data.training_pool.episodes
    space = from_text(facts["observation_space"])
    starts = first.steps[first.offsets[:2], : data.state_size]
    assert np.allclose(flatten(seen, space), starts)
    assert [set(row[6:8].tolist()) for row in starts] == [{0.0, 1.0}] * 2
    del gym.registry["tests/Rooms-v0"]


def test_datasets_of_a_task_agree_in_wrappers_and_limits_but_not_in_how_they_were_drawn(own):
    record("own/a-v0", walk())
    record("own/b-v0", walk(render_mode="rgb_array"), seed=1)
    record("own/c-v0", ClipAction(walk()), seed=2)
    record("own/d-v0", TimeLimit(walk(), 100), seed=3)

    def task(other):
        return make_family("minari", {"training": [{"id": 1, "training_data": ["own/a-v0", other]}], "held_out": []})

    assert "render_mode" not in task("own/b-v0").training_tasks[0].env_id.kwargs
    for other, word in (("own/c-v0", "ClipAction"), ("own/d-v0", "max_episode_steps")):
        refused(other, word, "make two tasks", making=lambda other=other: task(other))


# Tasks that differ


def test_tasks_of_other_action_boxes_share_one_that_holds_both(own):
    record("own/narrow-v0", walk())
    record("own/wide-v0", walk(goal=3, box=3.0), scale=3.0)
    statistics = [
        laid_out([f"own/{name}-v0" for name in order], "own/wide-v0").statistics
        for order in (("narrow", "wide"), ("wide", "narrow"))
    ]
    for one in statistics:
        assert (one.action_mid.tolist(), one.action_half.tolist()) == ([0, 0], [3, 3])


def test_success_is_looked_for_in_every_task(own):
    for name in ("is_success", "none"):
        record(f"own/{name}-v0", walk(success=name))
    known, unknown = (laid_out([f"own/{name}-v0"], f"own/{name}-v0") for name in ("is_success", "none"))
    assert [reports_success(data.heldout_tasks[0]) for data in (known, unknown)] == [True, False]
    subjects = [Subject(data.heldout_tasks[0], data.segments(data.heldout_tasks[0].id)) for data in (known, unknown)]
    assert decide("success", subjects[0]).reports_success
    refused("has no success", making=lambda: decide("success", subjects[1]))


# Units


def normalised(data):
    """States and actions of all steps, as the model sees them."""
    batch, statistics = data.batch(0), data.statistics
    mean, std, middle, half = (torch.from_numpy(values) for values in vars(statistics).values())
    states = (batch.context.states - mean) / std
    return states.float(), (batch.context.actions - middle) / half, batch.context.mask[..., None]


@pytest.mark.parametrize(
    "options",
    [
        {"unit": 1e-7},
        {"unit": 1e5},
        {"offset": 1e6},
        {"offset": -1e4, "unit": 0.1},
        {"box": 5e-7, "gain": 2e5},
        {"box": 5e5, "gain": 2e-7},
    ],
    ids=str,
)
def test_units_do_not_matter(own, options):
    scale = options.get("box", 1.0)
    plain, _ = one_task(walk(), "own/plain-v0")
    record("own/plain-v1", walk(**options), scale=scale)
    other = laid_out(["own/plain-v1"], "own/plain-v1")
    # The same draws: ids of tasks and counts are equal.
    (states, actions, mask), (others, other_actions, _) = normalised(plain), normalised(other)
    assert torch.allclose(states * mask, others * mask, atol=0.07)  # a mean of float32 at 1e6 is off by 0.03
    assert torch.allclose((states * mask).diff(dim=1), (others * mask).diff(dim=1), atol=0.07)
    assert torch.allclose(actions * mask, other_actions * mask, atol=1e-3)


def test_states_far_from_zero_keep_what_float32_would_round_away(own, point_policy):
    data, seeds = one_task(walk(offset=1e6))
    batch = data.batch(0)
    assert batch.context.states.dtype == batch.prompt.states.dtype == torch.float64
    rest = batch.context.states[batch.context.mask] - 1e6
    assert ((rest * 16) % 1).max() > 0.01  # float32 knows sixteenths there
    steps = data.training_pool.episodes.steps
    env = walk(offset=1e6)
    assert np.allclose(env.reset(seed=seeds[0])[0], steps[0, :2].astype(np.float64) + steps[0, 7:], rtol=0, atol=1e-6)
    assert data.segments("walk/h").gather(np.array([[0]])).states.dtype == torch.float64
    near, _ = one_task(walk(), "own/near-v0")
    assert near.batch(0).context.states.dtype == torch.float32
    # The model sees float64 as it sees float32.
    model = point_policy.model
    states = torch.tensor([[0.25, -0.5]])
    assert torch.allclose(model.normalise_states(states.double()), model.normalise_states(states))
    assert model.normalise_states(states.double()).dtype == torch.float32


@pytest.mark.parametrize("bound", [1e3, 1e6, float(np.finfo(np.float32).max), np.inf])
def test_bounds_that_nobody_meant_count_as_none(own, bound):
    data, seeds = one_task(walk(box=bound))
    assert (data.statistics.action_half <= 1.5).all()
    agrees(data, seeds)


# Foreign code


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("build", ["cannot be built", "KeyError", "no such robot"]),
        ("reset", ["OSError in reset(seed=7)", "no display"]),
        ("step", ["ZeroDivisionError in step(", "contact"]),
        ("unseeded", ["does not repeat itself"]),
        ("endless", ["not finite"]),
    ],
)
def test_what_an_environment_raises_is_said_before_training(own, fault, words):
    record("own/a-v0", walk())
    edit("own/a-v0", lambda spec: {**spec, "kwargs": {**spec["kwargs"], "fault": fault}}, spec=True)
    edit("own/a-v0", lambda known: known.update(requirements=["walker==3.1"]))
    words = [*words, "walk/0", "own/a-v0", "tests/Walk-v0", "asks for walker==3.1"]
    refused(*words, making=lambda: laid_out(["own/a-v0"], "own/a-v0"))


def test_an_environment_that_other_processes_cannot_find_is_refused(own):
    from pdt_lightning.data.checks import check_environments
    from tests.walks import Walk

    gym.register("tests/Local-v0", entry_point=Walk)
    refused(
        "x: its environment tests/Local-v0",
        "under a string",
        making=lambda: check_environments([Task("x", "tests/Local-v0")], {}),
    )
    del gym.registry["tests/Local-v0"]


def test_wrappers_that_remember_are_refused(own):
    for number, wrapper in enumerate((NormalizeObservation, NormalizeReward)):
        record(f"own/a-v{number}", wrapper(walk()))
        name = f"own/a-v{number}"
        refused(wrapper.__name__, "running statistics", making=lambda name=name: laid_out([name], name))


@pytest.mark.parametrize("dtype", ["int64", "float16", "float64"])
def test_actions_are_of_the_environments_own_type(own, dtype, point_policy):
    data, seeds = one_task(walk(goal=2, dtype=dtype))
    agrees(data, seeds)
    # A policy's fractions too, which the environment asserts; and those of a saved prompt.
    facts = data.heldout_tasks[0].facts()
    policy = PromptedPolicy(point_policy, data.segments("walk/h").gather(np.array([[0, 1]])), facts)
    policy.reset()
    env = gym.make(policy.environment)
    env.step(policy.act(env.reset(seed=0)[0]))


# Success


@pytest.mark.parametrize("success", ["number", "is_success", "nan at reset"])
def test_success_is_read_alike_in_data_and_rollouts(own, success):
    data, seeds = one_task(walk(goal=1, success=success), steps=20)
    pool = data.training_pool.episodes
    recorded = [pool.steps[a:b, 2:4] for a, b in zip(pool.offsets[:-1], pool.offsets[1:], strict=True)]
    outcomes, _ = replayed(data.heldout_tasks[0], recorded, seeds, 2)
    assert [outcome.success for outcome in outcomes] == pool.index.successes.tolist()
    assert max(pool.index.successes) == 1.0


@pytest.mark.parametrize(("success", "word"), [("mapping", "a mapping of reach"), ("vector", "an array of shape")])
def test_success_that_is_no_number_is_refused(own, success, word):
    record("own/a-v0", walk(success=success))
    refused("tests/Walk-v0", word, "info['success']", making=lambda: laid_out(["own/a-v0"], "own/a-v0"))
    edit("own/a-v0", lambda spec: {**spec, "kwargs": {}}, spec=True)  # the data have it still
    refused("own/a-v0, episode 0", word, making=lambda: laid_out(["own/a-v0"], "own/a-v0"))


# Horizons


def test_returns_over_the_same_number_of_steps_are_compared(own):
    record("own/a-v0", walk(), steps=20)
    whole, cut = (laid_out(["own/a-v0"], "own/a-v0", **more) for more in ({}, {"horizon": 5}))
    for data, steps in ((whole, 20), (cut, 5)):
        task, episodes = data.heldout_tasks[0], data.segments("walk/h").episodes
        assert (task.horizon, episodes.lengths.tolist()) == (steps, [steps] * 4)
        assert task.target_return == max(EpisodeStatistics.demonstrated(episodes, steps).returns)
    first = whole.segments("walk/h").episodes
    to_go = first.steps[first.offsets[:-1], -1] - first.steps[first.offsets[:-1] + 5, -1]
    assert cut.segments("walk/h").episodes.index.returns == pytest.approx(to_go, rel=1e-5)


def test_a_horizon_beyond_the_environments_limit_is_honoured(own):
    limited = TimeLimit(walk(), 8)
    record("own/a-v0", limited)
    task = laid_out(["own/a-v0"], "own/a-v0", horizon=30).heldout_tasks[0]
    outcomes, _ = replayed(task, [np.zeros((30, 2))], [0], 2)
    assert outcomes[0].length == 30
    assert gym.make(gym.envs.registration.EnvSpec.from_json(task.facts()["environment"])).spec.max_episode_steps == 30


def test_demonstrations_beyond_the_environments_limit_are_cut(own):
    gym.register("tests/Short-v0", entry_point="tests.walks:Walk", max_episode_steps=5)
    record("own/a-v0", walk(), steps=12, spec=gym.make("tests/Short-v0", disable_env_checker=True))
    del gym.registry["tests/Short-v0"]
    data = laid_out(["own/a-v0"], "own/a-v0")
    assert (data.heldout_tasks[0].horizon, data.max_timesteps) == (5, 5)


def test_an_episode_that_was_cut_off_sets_no_target(own):
    record("own/a-v0", walk(), lengths=(12, 12, 1, 12))
    data = laid_out(["own/a-v0"], "own/a-v0")
    episodes = data.segments("walk/h").episodes
    assert (
        data.heldout_tasks[0].target_return
        == episodes.index.returns[episodes.lengths == 12].max()
        < episodes.index.returns[2]
    )
    assert len(EpisodeStatistics.demonstrated(episodes, 12).returns) == 3
    record("own/b-v0", walk(), lengths=(12, 12, 1, 12), ended=True)  # by the environment: that is a whole episode
    assert (
        len(EpisodeStatistics.demonstrated(laid_out(["own/b-v0"], "own/b-v0").segments("walk/h").episodes, 12).returns)
        == 4
    )


def test_rewards_of_small_units_have_a_scale(own):
    record("own/a-v0", walk(), steps=12)
    data = laid_out(["own/a-v0"], "own/a-v0")
    episodes = data.training_pool.episodes
    small = dataclasses.replace(episodes.index, returns=episodes.index.returns * 1e-7)
    opened = dataclasses.replace(episodes, index=small)
    ((task,), _) = Facts().resolve(data.family.training_tasks, "training_data", lambda *_: opened)
    assert task.return_scale == pytest.approx(1e-7 * np.abs(episodes.index.returns).max())


# What Minari keeps


def test_reset_options_of_the_recorded_episodes_are_played(own):
    data, seeds = one_task(walk(goal=0), options={"goal": 2})
    agrees(data, seeds)
    assert make_env_goal(data.heldout_tasks[0]) == pytest.approx([0, 1])
    env = gym.make(gym.envs.registration.EnvSpec.from_json(data.heldout_tasks[0].facts()["environment"]))
    env.reset(seed=0)
    assert env.unwrapped.goal == pytest.approx([0, 1])
    record("own/b-v0", walk(goal=0), options={"goal": 4}, seed=9)
    listed = {"training": [{"id": "both", "training_data": ["own/a-v0", "own/b-v0"]}], "held_out": []}
    (both,) = make_family("minari", listed).training_tasks
    assert {tuple(np.round(make_env_goal(both, seed)).tolist()) for seed in range(4)} == {(0, 1), (-1, 0)}


def make_env_goal(task, seed=0):
    env = task.make_env()
    env.reset(seed=seed)
    return env.unwrapped.goal.tolist()


def test_rollouts_are_in_the_evaluation_environment_where_there_is_one(own):
    record("own/a-v0", walk(goal=1), eval_env=walk(goal=5))
    data = laid_out(["own/a-v0"], "own/a-v0")
    assert data.heldout_tasks[0].make_env().unwrapped.goal == pytest.approx([-(0.5**0.5), -(0.5**0.5)])
    data = laid_out(["own/a-v0"], "own/a-v0", environment="recorded")
    assert data.heldout_tasks[0].make_env().unwrapped.goal == pytest.approx([0.5**0.5, 0.5**0.5])
    refused(
        "choose one of evaluation, recorded",
        making=lambda: laid_out(["own/a-v0"], "own/a-v0", environment="evaluatoin"),
    )


# Ids and messages


@pytest.mark.parametrize("name", ["/x", "../x", "a/../x", "a//b", "a/./b", "a/b/", " a", "a\\b", "x" * 300, "a\nb"])
def test_ids_that_are_no_files_are_refused(own, name):
    record("own/a-v0", walk())
    listed = {"training": [{"id": name, "training_data": ["own/a-v0"]}], "held_out": []}
    refused("cannot be a task's id", making=lambda: make_family("minari", listed))


def test_an_entry_is_a_mapping(own):
    refused("own/a-v0", "is no task", making=lambda: make_family("minari", {"training": ["own/a-v0"], "held_out": []}))


def test_numbers_are_ids(own):
    record("own/a-v0", walk())
    entries = [{"id": n, "training_data": ["own/a-v0"]} for n in (0, 1, "0")]
    family = make_family("minari", {"training": entries[:2], "held_out": []})
    assert [task.id for task in family.training_tasks] == ["0", "1"]
    refused("two tasks have the id 0", making=lambda: make_family("minari", {"training": entries, "held_out": []}))


def test_an_environment_that_could_not_be_written_down_is_explained(own):
    record("own/a-v0", TransformReward(walk(), abs))
    refused("own/a-v0", "function", "plain", making=lambda: laid_out(["own/a-v0"], "own/a-v0"))


def test_an_id_without_its_version_finds_the_one_that_is_there(own):
    record("own/a-v3", walk())
    refused("own/a is not under", "own/a-v3", making=lambda: laid_out(["own/a"], "own/a-v3"))


def test_one_observation_too_few_is_said_so(own):
    import h5py

    record("own/a-v0", walk())
    with h5py.File(path_of("own/a-v0") / "data" / "main_data.hdf5", "r+") as file:
        values = file["episode_1/observations"][:-1]
        del file["episode_1/observations"]
        file["episode_1/observations"] = values
    refused("own/a-v0, episode 1", "one more", making=lambda: laid_out(["own/a-v0"], "own/a-v0"))
    shutil.rmtree(path_of("own/a-v0"))
