import gymnasium as gym
import numpy as np
import pytest

from pdt_lightning.tasks import Task, families, make_family
from pdt_lightning.tasks.actions import choices_of


def test_our_families_are_registered_as_entry_points():
    assert {"point", "metaworld", "metaworld-set", "half-cheetah-vel", "half-cheetah-dir", "ant-dir", "minari"} <= set(
        families()
    )


def test_unknown_family_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"`data.family`=maze is unknown.*point"):
        make_family("maze")


def test_unknown_option_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"family_options.horizn` is not an option of family point.*horizon"):
        make_family("point", {"horizn": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out": [99]}, "held_out"),
        ({"held_out": []}, "held_out"),
        ({"training_demonstrations": 2}, "training_demonstrations`=2"),
        ({"candidate_demonstrations": 0}, "candidate_demonstrations`=0"),
        ({"expert_share": 1.5}, "expert_share`=1.5"),
        ({"action_noise": -1}, "action_noise`=-1"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        make_family("point", options)


def test_dataset_ids_change_with_what_is_in_them():
    ids = {
        make_family("point", options).training_tasks[0].training_data[0]
        for options in (
            {},
            {"action_noise": 0.1},
            {"horizon": 20},
            {"training_demonstrations": 7},
            {"collection_seed": 1},
        )
    }
    assert len(ids) == 5
    first, second = (
        make_family("point").training_tasks[0],
        make_family("point", {"expert_share": 0.5}).training_tasks[0],
    )
    assert first.training_data == second.training_data  # the share concerns the candidates alone
    assert first.prompt_data != second.prompt_data


def test_choices_are_taken_as_vectors():
    env = Task(id="cart", env_id="CartPole-v1").make_env()
    assert (env.action_space.shape, choices_of(env.action_space)) == ((2,), (2,))
    env.reset(seed=0)
    assert env.step(np.array([0.0, 1.0], np.float32))[0].shape == (4,)


class DictEnv(gym.Env):
    observation_space = gym.spaces.Dict({"b": gym.spaces.Box(-1, 1, (2,)), "a": gym.spaces.Box(-1, 1, (1,))})
    action_space = gym.spaces.Box(-1, 1, (1,))


def test_dict_observations_are_flattened():
    gym.register("test/Dict-v0", entry_point=DictEnv)
    try:
        assert Task(id="dict", env_id="test/Dict-v0").make_env().observation_space.shape == (3,)
    finally:
        del gym.registry["test/Dict-v0"]
