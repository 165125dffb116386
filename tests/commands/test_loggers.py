"""Loggers beside TensorBoard's, as README adds them."""

from importlib.util import find_spec

import pytest

from pdt_lightning import fit
from tests.conftest import POINT_FLAGS
from tests.processes import command


def test_a_table_is_added_to_the_runs_own_folder(tmp_path, point_data):
    logger = ["--trainer.logger+=CSVLogger", f"--trainer.logger.save_dir={tmp_path}", "--trainer.logger.name=run"]
    short = ["--trainer.max_epochs=1", "--tuning.rounds=1", "--tuning.oracle_candidates=0"]
    done = command("fit", *POINT_FLAGS, "--name=run", f"--trainer.default_root_dir={tmp_path}", *short, *logger)
    folder = tmp_path / "run" / "version_0"
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/loss", "val/action_error", "tuning/tuned_return"} <= set(header)
    assert list(folder.glob("events.out.tfevents*"))
    assert "tensorboard --logdir" in done.stdout
    assert "metrics.csv" in done.stdout


@pytest.mark.skipif(find_spec("wandb") is not None, reason="Weights & Biases is installed")
@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_a_logger_whose_package_is_not_installed_is_named(tmp_path, capsys):
    logger = ["--trainer.logger+=WandbLogger", "--trainer.logger.project=x"]
    with pytest.raises(SystemExit) as end:
        fit.main([*POINT_FLAGS, f"--trainer.default_root_dir={tmp_path / 'runs'}", *logger])
    assert end.value.code == 2
    assert "error: --trainer: WandbLogger: Requirement 'wandb" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
