"""What we lean on inside other packages, pinned: an upgrade that changes it fails here, loudly."""

import inspect
import pickle

import gymnasium as gym
import jsonargparse
import lightning
import metaworld
import minari
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from metaworld.env_dict import ALL_V3_ENVIRONMENTS

from pdt_lightning.callbacks import PromptTuning


@pytest.fixture(scope="module")
def ml1():
    return metaworld.ML1("pick-place-v3", seed=1)


def test_metaworld_goals_of_a_seed_are_what_they_were(ml1):
    vectors = np.array([pickle.loads(task.data)["rand_vec"] for task in ml1.train_tasks])
    assert vectors.shape == (50, 6)
    assert vectors[11] == pytest.approx([-0.09108962, 0.61074941, 0.02, 0.0425978, 0.8559717, 0.053139], abs=1e-6)


def test_metaworld_through_gymnasium_gives_the_test_split():
    """The late-binding bug for which `metaworld.ML1` is used directly; when this fails, it has been mended."""
    make = gym.spec("Meta-World/ML1-train").vector_entry_point
    assert inspect.getclosurevars(make).nonlocals["split"] == "test"


def test_metaworld_asks_for_its_positions_through_the_method_we_replace(ml1):
    env = ALL_V3_ENVIRONMENTS["pick-place-v3"]()
    env.set_task(ml1.train_tasks[0])
    calls = []
    before = env._get_state_rand_vec
    env._get_state_rand_vec = lambda: calls.append(1) or before()
    first, _ = env.reset(seed=1)
    second, _ = env.reset(seed=2)
    assert calls
    assert np.array_equal(first, second)  # the seed is ignored
    assert np.array_equal(first[-3:], np.zeros(3))  # the goal is hidden
    assert np.array_equal(env._target_pos, pickle.loads(ml1.train_tasks[0].data)["rand_vec"][3:])
    assert env.max_path_length == 500


def test_minari_keeps_datasets_where_we_look_for_them(point_data):
    name = point_data.heldout_tasks[0].prompt_data[0]
    assert name in minari.list_local_datasets()
    dataset = minari.load_dataset(name)
    assert {"observations", "actions", "rewards", "infos"} <= set(next(iter(dataset.storage.get_episodes([0]))))
    assert len(dataset[0].infos["expert_action"]) == len(dataset[0].rewards) + 1


def test_gymnasium_autoreset_is_not_between_us_and_the_environment():
    env = gym.make("pdt-lightning/Point-v0", goal=0, disable_env_checker=True)
    assert env.spec.max_episode_steps is None


def test_options_of_a_class_made_from_kwargs_become_flags():
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(PromptTuning, "tuning")
    config = parser.parse_args(["--tuning.rounds=7", "--tuning.every_n_epochs=3"])
    assert (config.tuning.rounds, config.tuning.every_n_epochs, config.tuning.tuner) == (7, 3, "structured")
    assert "rollouts that the tuner may spend on a task" in parser.format_help()


def test_lightning_saves_after_validation_epoch_end_where_tuning_logs(tmp_path):
    order = []

    class Watch(lightning.Callback):
        def on_validation_epoch_end(self, trainer, module):
            module.log("seen", 1.0)
            order.append("tuned")

    class Saves(ModelCheckpoint):
        def _save_checkpoint(self, trainer, path):
            order.append("saved")
            assert "seen" in trainer.callback_metrics

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch, index):
            return self.layer(batch).sum()

        def validation_step(self, batch, index):
            pass

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    data = torch.utils.data.DataLoader(torch.zeros(2, 1))
    saves = Saves(tmp_path, monitor="seen", save_on_train_epoch_end=False)
    options = {
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    lightning.Trainer(default_root_dir=tmp_path, callbacks=[Watch(), saves], **options).fit(Module(), data, data)
    assert order[0] == "tuned"  # the sanity check tunes nothing that is saved
    assert order[-2:] == ["tuned", "saved"]


def test_lightning_cli_takes_the_parser_mode_that_resolves_interpolation_at_the_end(tmp_path):
    (tmp_path / "a.yaml").write_text("one: 1\ntwo: ${one}\n")
    parser = jsonargparse.ArgumentParser(parser_mode="omegaconf+")
    parser.add_argument("--config", action="config")
    parser.add_argument("--one", type=int)
    parser.add_argument("--two", type=int)
    assert parser.parse_args([f"--config={tmp_path / 'a.yaml'}", "--one=5"]).two == 5
    assert "parser_kwargs" in inspect.signature(LightningCLI).parameters
