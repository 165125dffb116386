"""Environments of other people's packages, from demonstrations made here to tuned prompts, by the command line."""

import json

import gymnasium as gym
import numpy as np
import pytest
import yaml

import pdt_lightning
from pdt_lightning import collect, fit
from tests import real
from tests.processes import ROOT
from tests.walks import record

# jsonargparse's, of what Lightning calls; and what the packages say of themselves when they are imported.
pytestmark = [
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(pygame|gymnasium_robotics|pkg_resources|minigrid).*"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "minari").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configure(folder, names, **sections):
    """A configuration whose tasks are trained on and tuned, each with the dataset of its own name."""
    known = yaml.safe_load((ROOT / "conf" / "own_data.yaml").read_text())
    known["data"]["family_options"] = {
        group: [{"id": name, kind: [f"real/{name}-v0"]} for name in names]
        for group, kind in (("training", "training_data"), ("held_out", "prompt_data"))
    }
    for section, options in sections.items():
        known[section] |= options
    (folder / "own.yaml").write_text(yaml.safe_dump(known))


def played(policy, env, seed):
    """Return of an episode, each action of which has to be of the environment's space."""
    observation, _ = env.reset(seed=seed)
    policy.reset()
    reward, total, over = None, 0.0, False
    while not over:
        action = policy.act(observation, reward)
        assert env.action_space.contains(action), action
        observation, reward, terminated, truncated, _ = env.step(action)
        total, over = total + float(reward), terminated or truncated
    return total


@pytest.mark.parametrize("name", real.KINDS)
def test_it_is_checked_trained_and_tuned(folder, capsys, name):
    make, act, size = real.KINDS[name]
    for dataset in ("one", "two"):
        record(f"real/{name}-{dataset}-v0", make(), by=act, steps=60, seed=len(dataset))
    configure(folder, [f"{name}-one", f"{name}-two"], data={"segment_steps": 1, "context_steps": 3})
    collect.main(["check", "--config=own.yaml"])
    said = capsys.readouterr().out
    assert "4 tasks, 0 warnings" in said  # first observations and returns, played again, are those that were recorded
    fit.main(
        [
            "--config=own.yaml",
            f"--config={ROOT / 'conf' / 'debug.yaml'}",
            "--trainer.enable_progress_bar=false",
            "--name=own_data",
        ]
    )
    run = folder / "runs" / "own_data" / "version_0"
    assert set(json.loads((run / "summary.json").read_text())["tasks"]) == {f"{name}-one", f"{name}-two"}
    policy = pdt_lightning.load(run / "checkpoints" / "last.ckpt", run / "prompts" / f"{name}-one.safetensors")
    assert policy.prompt.states.shape[-1] == size
    assert np.isfinite(played(policy, gym.make(policy.environment), seed=3))


def test_a_frozen_lake_is_learned_from_what_others_did(folder, capsys):
    """Three lakes whose goals no observation shows: the prompt tells, and the policy walks there."""
    goals = {"down": 12, "right": 3, "far": 15}
    for name, goal in goals.items():
        record(f"real/{name}-v0", real.lake(goal), by=real.by_table(noise=0.1), episodes=12, steps=30, seed=goal)
    configure(
        folder,
        list(goals),
        data={"updates_per_epoch": 250, "segments": 1, "segment_steps": 3, "chunk_steps": 12},
        model={"width": 32, "layers": 2, "inner": 64, "learning_rate": 3e-3, "warmup_updates": 20},
        trainer={
            "max_epochs": 1,
            "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "curves"}},
        },
        tuning={"rounds": 8, "verdict_episodes": 2, "yardstick_episodes": 2},
    )
    fit.main(["--config=own.yaml", "--trainer.enable_progress_bar=false", "--tuning.objective=return"])
    run = folder / "runs" / "own_data" / "version_0"
    results = json.loads((run / "summary.json").read_text())["tasks"]
    assert {name: result["tuned"]["return"] for name, result in results.items()} == dict.fromkeys(goals, 1.0)
    columns = next(folder.rglob("metrics.csv")).read_text().splitlines()[0].split(",")
    assert {"val/action_accuracy", "heldout/action_accuracy", "val/action_error", "val_task/far"} <= set(columns)
    for name in goals:
        policy = pdt_lightning.load(run / "checkpoints" / "last.ckpt", run / "prompts" / f"{name}.safetensors")
        assert played(policy, gym.make(policy.environment), seed=0) == 1.0
        # As many environments side by side as there are cells: observations are numbers, not one vector.
        envs = gym.make_vec(policy.environment, num_envs=16)
        observations, _ = envs.reset(seed=0)
        policy.reset()
        rewards, over, totals = None, np.zeros(16, bool), np.zeros(16)
        while not over.all():
            actions = policy.act(observations, rewards)
            assert (actions.shape, actions.dtype) == ((16,), np.int64)
            observations, rewards, terminated, truncated, _ = envs.step(actions)
            totals += np.where(over, 0.0, rewards)
            over |= terminated | truncated
        assert totals.tolist() == [1.0] * 16


def test_what_a_grid_cannot_give_is_refused_by_name(folder, capsys):
    from minigrid.wrappers import ImgObsWrapper, RGBImgObsWrapper

    pixels = RGBImgObsWrapper(gym.make("MiniGrid-Empty-Random-5x5-v0"))
    for name, env, words in (
        (
            "pixels",
            ImgObsWrapper(pixels),
            "observations of Box(0, 255, (40, 40, 3), uint8) are not supported; images are",
        ),
        (
            "cells",
            ImgObsWrapper(real.grid().unwrapped),
            "cannot be built: ValueError: ImgObsWrapper wrapper does not inherit",
        ),
    ):
        record(f"real/{name}-v0", env, by=real.to_the_corner, steps=20)
        configure(folder, [name])
        with pytest.raises(SystemExit) as end:
            fit.main(["--config=own.yaml"])
        assert end.value.code == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"Minari dataset real/{name}-v0" in said
        assert words in said
