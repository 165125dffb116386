"""What may be monitored: the names that a run logs, and no other."""

import lightning
import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from pdt_lightning import fit
from pdt_lightning.callbacks import PromptTuning
from pdt_lightning.commands.monitors import check_monitors, monitored_names
from pdt_lightning.core.errors import UserError
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.lit_pdt import LitPDT
from tests.conftest import POINT, POINT_FLAGS, SMALL
from tests.walks import record, walk


def test_the_names_are_those_that_a_run_logs(tmp_path):
    data = MultiTaskDataModule(**POINT, tuned_training_tasks=["point/00"])
    tuning = PromptTuning(
        rounds=2, verdict_episodes=2, oracle_candidates=2, validation_tasks=["point/00"], progress=False
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        callbacks=[tuning],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        default_root_dir=tmp_path,
    )
    trainer.fit(LitPDT(2, 2, 30, context_steps=5, **SMALL), datamodule=data)
    logged = {name for name in trainer.callback_metrics if "oracle" not in name}
    assert logged == set(monitored_names(data, ["point/00"])) - {"epoch", "step"}


@pytest.mark.parametrize(
    ("monitor", "meant"),
    [
        ("val/action_eror", "val/action_error"),
        ("tuning/tuned_retrun", "tuning/tuned_return"),
        ("val_tasks/point/01", "val_task/point/01"),
        ("tuning/oracle_return", "tuning/"),
    ],
)
def test_a_misspelt_monitor_is_refused(point_data, monitor, meant):
    with pytest.raises(UserError, match=f"EarlyStopping has monitor={monitor}.*Did you mean {meant}"):
        check_monitors([ModelCheckpoint(monitor="val/action_error"), EarlyStopping(monitor)], None, point_data)
    with pytest.raises(UserError, match=f"--lr_scheduler: ReduceLROnPlateau has monitor={monitor}"):
        check_monitors([], {"class_path": "a.ReduceLROnPlateau", "init_args": {"monitor": monitor}}, point_data)


def test_what_is_there_is_taken_and_so_is_what_a_users_callback_may_log(point_data):
    class Mine(lightning.Callback):
        pass

    check_monitors(
        [EarlyStopping("tuning/tuned_success"), ModelCheckpoint(monitor="heldout_task/point/03")], None, point_data
    )
    check_monitors([EarlyStopping("mine"), Mine()], None, point_data)


def test_success_is_asked_of_every_task_that_is_tuned(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    kinds = {"none": "none", "happens": "when it happens", "told": "number"}
    for name, success in kinds.items():
        record(f"own/{name}-v0", walk(success=success, spread=0.01), steps=30)

    def names(*tuned):
        listed = {
            "training": [{"id": name, "training_data": [f"own/{name}-v0"]} for name in kinds],
            "held_out": [{"id": name, "prompt_data": [f"own/{name}-v0"]} for name in tuned],
        }
        data = MultiTaskDataModule("minari", listed, segment_steps=2, progress=False)
        before = monitored_names(data, [])  # when nothing is known yet
        assert {"tuning/tuned_success", f"tuning_tuned_success/{tuned[-1]}"} <= set(before)
        data.prepare_data()
        data.setup()
        return {name for name in monitored_names(data, []) if "_success" in name and "untuned" not in name}, data

    assert names("happens", "told")[0] == {
        "tuning/tuned_success",
        "tuning_tuned_success/happens",
        "tuning_tuned_success/told",
    }
    found, data = names("none", "happens")
    assert found == {"tuning_tuned_success/happens"}
    with pytest.raises(UserError, match=r"tuning/tuned_success, which is no metric of this run.*tuning/tuned_return"):
        check_monitors([EarlyStopping("tuning/tuned_success")], None, data)


# Lightning's use of jsonargparse, which in a process of its own nobody sees.
@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_the_command_refuses_before_anything_is_written(tmp_path, capsys):
    callback = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/action_eror"]
    with pytest.raises(SystemExit) as end:
        fit.main([*POINT_FLAGS, f"--trainer.default_root_dir={tmp_path / 'runs'}", *callback])
    assert end.value.code == 2
    assert "Did you mean val/action_error?" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
