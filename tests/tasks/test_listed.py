import pickle

import gymnasium as gym
import pytest

from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.tasks import make_family


def entries(point_data):
    training = [
        {"id": f"mine/{t.id}", "training_data": list(t.training_data)} for t in point_data.family.training_tasks[:3]
    ]
    held_out = [{"id": f"mine/{t.id}", "prompt_data": list(t.prompt_data)} for t in point_data.family.heldout_tasks[:1]]
    return training, held_out


def test_a_users_own_datasets_need_no_code(point_data, monkeypatch):
    training, held_out = entries(point_data)
    held_out[0]["horizon"] = 20
    options = {"training": training, "held_out": held_out}
    data = MultiTaskDataModule(
        family="minari", family_options=options, segment_steps=3, context_steps=5, progress=False
    )
    data.prepare_data()
    data.setup()
    longest = max(point_data.training_pool.episodes.lengths.max(), point_data.validation_pool.episodes.lengths.max())
    assert data.max_timesteps == longest
    task = data.heldout_tasks[0]
    assert (task.horizon, task.target_return, task.return_scale) == (20, 10.0, 10.0)
    env = task.make_env()
    assert env.unwrapped.goal == 3  # the environment is the one that the dataset names
    # Workers know nothing of what this process registered: the task brings the environment's specification along.
    monkeypatch.delitem(gym.registry, "pdt-lightning/Point-v0")
    assert pickle.loads(pickle.dumps(task)).make_env().unwrapped.goal == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "colour is not known"),
        ({"id": None}, "lacks id"),
        ({"training_data": []}, "lacks training_data"),
        ({"training_data": ["no/such-v0"]}, "minari download no/such-v0"),
    ],
)
def test_mistakes_are_named(point_data, change, message):
    training, held_out = entries(point_data)
    training[0] |= change
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make_family("minari", {"training": training, "held_out": held_out})
