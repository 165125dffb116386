"""Demonstrations collected once for all tests, in a folder of their own, and small objects made of them."""

import os
import tempfile

# Before anything reads it; subprocesses inherit it.
_folder = tempfile.TemporaryDirectory(prefix="pdt-lightning-tests-")
os.environ["MINARI_DATASETS_PATH"] = _folder.name

import pytest
import torch

from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.results import figures
from pdt_lightning.rollouts import workers  # noqa: F401  # before the next one, which changes what it sets
from pdt_lightning.rollouts.policy import Policy
from tests import processes

POINT = {
    "family": "point",
    "family_options": {"training_demonstrations": 4, "candidate_demonstrations": 3},
    "context_steps": 5,
    "segments": 2,
    "segment_steps": 3,
    "batch_size": 16,
    "updates_per_epoch": 3,
    "validation_windows": 26,
    "progress": False,
}
# The same as flags of the commands.
POINT_FLAGS = [
    "--data.family=point",
    "--data.family_options.training_demonstrations=4",
    "--data.family_options.candidate_demonstrations=3",
    "--data.context_steps=5",
    "--data.segments=2",
    "--data.segment_steps=3",
    "--data.batch_size=16",
    "--data.updates_per_epoch=3",
    "--data.validation_windows=26",
    "--data.chunk_steps=12",
    "--model.attention=window",
    "--model.width=16",
    "--model.layers=2",
    "--model.inner=32",
    "--model.warmup_updates=2",
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.enable_progress_bar=false",
    "--trainer.log_every_n_steps=1",
    "--tuning.rounds=8",
    "--tuning.parallel=2",
    "--tuning.yardstick_episodes=2",
    "--tuning.verdict_episodes=4",
    "--tuning.oracle_candidates=4",
    "--tuning.oracle_episodes=1",
]
SMALL = {"width": 16, "layers": 2, "inner": 32, "warmup_updates": 2}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_figures():
    """They take longer than all the rest of a phase."""
    figures.FIGURES.clear()


@pytest.fixture
def drawn(monkeypatch):
    """Figures are drawn in this test."""
    monkeypatch.setattr(figures, "FIGURES", processes.FIGURES)


@pytest.fixture(scope="session")
def point_data():
    data = MultiTaskDataModule(**POINT)
    data.prepare_data()
    data.setup()
    return data


def untrained(data, **options):
    module = LitPDT(data.state_size, data.action_size, data.max_timesteps, context_steps=5, **SMALL, **options)
    module.model.set_statistics(data.statistics)
    return module.eval()


@pytest.fixture(scope="session")
def point_module(point_data):
    return untrained(point_data)


@pytest.fixture(params=["published", "window"])
def point_policy(point_data, request):
    return Policy(untrained(point_data, attention=request.param).model, 5)
