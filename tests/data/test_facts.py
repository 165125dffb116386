"""One set of facts for each task, in training, tuning, checkpoint and prompt."""

import dataclasses

import lightning
import numpy as np
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from pdt_lightning.data import minari
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.data.segments import Prompt
from pdt_lightning.model.checkpoints import load
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.results import report
from pdt_lightning.tasks import make_family
from tests.conftest import SMALL

LENGTH = 20


@pytest.fixture(scope="module")
def datasets():
    """To train on, with returns of at most 20 in 20 steps, and others to take prompts from, with 90 in 30 steps."""
    env = make_family("point").training_tasks[0].make_env()

    def write(name, lengths, reward):
        if not minari.exists(name):
            rng = np.random.default_rng(0)
            episodes = [
                minari.Demonstration(
                    *(rng.normal(size=(n, 2)).astype(np.float32) for _ in range(3)), np.full(n, reward)
                )
                for n in lengths
            ]
            labelled = [
                dataclasses.replace(one, actions=one.actions.clip(-1, 1), labels=one.labels.clip(-1, 1))
                for one in episodes
            ]
            minari.write(name, labelled, [np.zeros(2)] * len(lengths), env, [True] * len(lengths), "a test")
        return name

    return write("facts/train-v0", [LENGTH, 12, 15, 20], 1.0), write("facts/prompts-v0", [30, 8], 3.0)


def made(datasets, **held_out):
    training, prompts = datasets
    family = {
        "training": [{"id": "a", "training_data": [training]}],
        "held_out": [
            {"id": "a", "prompt_data": [prompts], **held_out},
            {"id": "b", "prompt_data": [prompts], **held_out},
        ],
    }
    small = {
        "context_steps": 5,
        "segments": 2,
        "segment_steps": 3,
        "batch_size": 4,
        "updates_per_epoch": 1,
        "validation_windows": 4,
    }
    return MultiTaskDataModule(family="minari", family_options=family, progress=False, **small)


def facts(task):
    return task.horizon, task.target_return, task.return_scale


def test_a_task_that_is_trained_and_tuned_has_one_scale(datasets):
    data = made(datasets)
    data.prepare_data()
    data.setup()
    assert facts(data.training_tasks[0]) == (LENGTH, 20.0, 20.0)
    assert facts(data.prompt_tasks["a"]) == (LENGTH, 20.0, 20.0)
    assert facts(data.prompt_tasks["b"]) == (30, 90.0, 90.0)  # which nothing else is known of
    assert data.segments("a").episodes.scales.tolist() == [20.0]
    prompt = data.segments("a").gather(np.array([[0, 1]]))
    assert prompt.returns_to_go[0, 0, 0] == 60 / 20  # of the first 20 steps, in units of the one scale


def test_returns_are_cut_to_the_horizon(datasets):
    data = made(datasets, horizon=10)
    data.prepare_data()
    data.setup()
    assert facts(data.prompt_tasks["b"]) == (10, 30.0, 30.0)
    episodes = data.segments("b").episodes
    assert (episodes.lengths.tolist(), episodes.index.returns.tolist()) == ([10, 8], [30.0, 24.0])
    assert episodes.steps[0, -1] == 30.0  # return-to-go of the first step


def test_they_are_kept_in_checkpoint_and_prompt(datasets, tmp_path):
    data = made(datasets)
    module = LitPDT(2, 2, 30, context_steps=5, **SMALL)
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, callbacks=[ModelCheckpoint(tmp_path, "last")],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    _, tuned = load(tmp_path / "last.ckpt")
    tuned.prepare_candidates()
    assert {name: facts(task) for name, task in tuned.prompt_tasks.items()} == {
        "a": (20, 20.0, 20.0),
        "b": (30, 90.0, 90.0),
    }
    other = {
        "held_out": [
            {"id": "b", "prompt_data": [datasets[0]]},
            {"id": "a", "prompt_data": [datasets[0]], "target_return": 7.0},
        ]
    }
    _, changed = load(tmp_path / "last.ckpt", other)
    changed.prepare_candidates()
    assert facts(changed.prompt_tasks["b"]) == (LENGTH, 20.0, 20.0)  # of other candidates
    assert facts(changed.prompt_tasks["a"]) == (LENGTH, 7.0, 20.0)  # what is given goes before

    class Result:
        task, origin = "a", "here"
        prompt = tuned.segments("a").gather(np.array([[0, 1]]))

    report.write_prompts(tmp_path, [Result], tuned.prompt_tasks)
    _, kept = Prompt.load_with_facts(tmp_path / "a.safetensors")
    assert (kept["horizon"], kept["target_return"], kept["return_scale"]) == (20, 20.0, 20.0)
