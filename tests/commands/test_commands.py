"""The commands on a finished run of the point family, as processes."""

import json
import re

import pytest
import yaml

from pdt_lightning import compare, tune
from pdt_lightning.commands.loggers import DEFAULT
from tests.conftest import POINT_FLAGS
from tests.processes import command


@pytest.fixture(scope="module")
def run(tmp_path_factory, point_data):
    folder = tmp_path_factory.mktemp("run")
    command("fit", *POINT_FLAGS, "--name=p", f"--trainer.default_root_dir={folder}", "--trainer.max_epochs=1")
    return folder / "p" / "version_0"


def last(run):
    return run / "checkpoints" / "last.ckpt"


def test_tune_uses_the_runs_options_and_obeys_its_own(run, tmp_path):
    flags = ["--rounds=6", "--tasks=[point/11]", f"--out={tmp_path}", "--oracle=true"]
    done = command("tune", "--ckpt_path", last(run), *flags, draws=["segments"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["tasks"]) == {"point/11"}
    assert summary["tasks"]["point/11"]["rollouts"] == 6
    assert summary["aggregate"]["oracle"] is not None
    assert len((tmp_path / "tuning.csv").read_text().splitlines()) == 1 + 6
    assert "point/11" in done.stdout
    assert (tmp_path / "prompts" / "point" / "11.safetensors").exists()
    assert (tmp_path / "figures" / "point" / "11_segments.png").exists()


def test_options_of_tune_and_compare_stand_in_files_too(run, tmp_path, capsys):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(f"ckpt_path: {last(run)}\nrounds: 7\nwidth: 4\nfamily_options:\n  held_out: [5]\n")
    second.write_text("rounds: 6\nfamily_options:\n  expert_share: 0.5\n")
    options = tune.parsed([f"--config={first}", f"--config={second}", "--width=2"])
    assert (options.ckpt_path, options.rounds, options.width) == (str(last(run)), 6, 2)
    assert options.family_options == {"held_out": [5], "expert_share": 0.5}
    assert options.parallel == 2  # of the checkpoint's run
    second.write_text(
        f"ckpt_path: [{last(run)}]\ntuners: [uniform, 'structured:credit=whole']\nseeds: 2\nobjective: return\n"
    )
    options = compare.parsed([f"--config={second}", "--seeds=3", "--out=x"])
    assert (options.ckpt_path, options.seeds, options.objective) == ([str(last(run))], 3, "return")
    assert options.tuners == ["uniform", "structured:credit=whole"]
    second.write_text("tuning:\n  rounds: 6\n")
    with pytest.raises(SystemExit):
        tune.main([f"--config={first}", f"--config={second}"])
    assert "unrecognized option --tuning.rounds. Did you mean --rounds?" in capsys.readouterr().err


def test_help_needs_no_checkpoint_and_shows_what_one_was_tuned_with(run, capsys):
    for args, shown in ((["--help"], "default: 100)"), ([f"--ckpt_path={last(run)}", "--help"], "default: 8)")):
        with pytest.raises(SystemExit) as end:
            tune.main(args)
        assert not end.value.code
        (line,) = re.findall(r"--rounds ROUNDS\s(.*?)\n  --", capsys.readouterr().out, re.S)
        assert shown in line


def test_other_candidates_and_other_tasks_than_the_runs(run, tmp_path):
    flags = ["--tasks=[point/05]", "--family_options.held_out=[5]", "--family_options.expert_share=0.5"]
    command("tune", f"--ckpt_path={last(run)}", "--rounds=4", f"--out={tmp_path}", *flags)
    (found,) = json.loads((tmp_path / "summary.json").read_text())["tasks"].items()
    assert found[0] == "point/05"
    assert json.loads((tmp_path / "summary.json").read_text())["family_options"] == {
        "held_out": [5],
        "expert_share": 0.5,
    }
    assert found[1]["expert"]["return"] < 8  # some of the candidates act at random; experts reach the goal, for 10


def test_saved_prompts_are_judged_again_on_fresh_episodes(run, tmp_path):
    for name in "ab":
        flags = [
            "--prompts",
            run / "prompts",
            "--rounds=0",
            "--seed=99",
            "--verdict_episodes=20",
            f"--out={tmp_path / name}",
        ]
        command("tune", f"--ckpt_path={last(run)}", *flags)
    a, b = (json.loads((tmp_path / name / "summary.json").read_text()) for name in "ab")
    assert a["tasks"] == b["tasks"]
    assert a["seed"] == 99
    assert a["tasks"]["point/03"]["rollouts"] == 0
    assert (
        a["tasks"]["point/03"]["prompt"]
        == json.loads((run / "summary.json").read_text())["tasks"]["point/03"]["prompt"]
    )


def test_a_second_run_gets_a_version_of_its_own_and_a_path_resumes_in_its_own(run):
    root = run.parents[1]
    flags = [*POINT_FLAGS, "--name=p", f"--trainer.default_root_dir={root}"]
    command("fit", *flags, "--trainer.max_epochs=1", "--seed=3")
    assert (root / "p" / "version_1" / "summary.json").exists()
    assert yaml.safe_load((root / "p" / "version_1" / "config.yaml").read_text())["seed"] == 3
    done = command("fit", *flags, "--trainer.max_epochs=2", f"--ckpt_path={last(run)}")
    assert f"{run}, from {last(run)}" in done.stdout
    assert json.loads((run / "summary.json").read_text())["epoch"] == 1
    assert not (root / "p" / "version_2").exists()


def test_a_runs_own_configuration_starts_another_run(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["trainer"]["logger"] == DEFAULT  # not where this run has put it
    before = (run / "tuning.csv").read_bytes()
    command(
        "fit",
        "--config",
        run / "config.yaml",
        "--name=again",
        f"--trainer.default_root_dir={tmp_path}",
    )
    assert (run / "tuning.csv").read_bytes() == before
    assert (tmp_path / "again" / "version_0" / "tuning.csv").read_bytes() == before


def test_without_a_logger_the_results_are_where_they_belong(tmp_path):
    command(
        "fit",
        *POINT_FLAGS,
        "--name=n",
        f"--trainer.default_root_dir={tmp_path}",
        "--trainer.max_epochs=1",
        "--trainer.logger=false",
    )
    assert (tmp_path / "n" / "version_0" / "summary.json").exists()


def test_interpolation_respects_overrides(tmp_path):
    (tmp_path / "a.yaml").write_text("tuning:\n  rounds: ${data.updates_per_epoch}\ndata:\n  updates_per_epoch: 11\n")
    flags = [
        "--config",
        "conf/point.yaml",
        "--config",
        tmp_path / "a.yaml",
        "--data.updates_per_epoch=12",
        "--print_config",
    ]
    printed = command("fit", *flags).stdout
    assert yaml.safe_load(printed)["data"]["updates_per_epoch"] == 12
    short = ["--trainer.max_epochs=1", "--tuning.verdict_episodes=1", "--tuning.oracle_candidates=0", "--name=i"]
    config = ["--config", tmp_path / "a.yaml", "--data.updates_per_epoch=2", f"--trainer.default_root_dir={tmp_path}"]
    assert "at most 2 rollouts a task" in command("fit", *POINT_FLAGS[:-5], *config, *short).stdout


def test_the_same_without_a_command_line(tmp_path, point_data):
    """As README shows it."""
    import lightning

    from pdt_lightning.callbacks import PromptTuning
    from pdt_lightning.data.datamodule import MultiTaskDataModule
    from pdt_lightning.model.lit_pdt import LitPDT
    from tests.conftest import POINT, SMALL

    data = MultiTaskDataModule(**POINT)
    model = LitPDT(
        data.state_size, data.action_size, data.max_timesteps, context_steps=data.hparams["context_steps"], **SMALL
    )
    tuning = PromptTuning(rounds=4, verdict_episodes=2, oracle_candidates=2, progress=False)
    options = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "logger": False,
        "enable_model_summary": False,
    }
    lightning.Trainer(default_root_dir=tmp_path, callbacks=[tuning], **options, enable_checkpointing=False).fit(
        model, data
    )
    assert tuning.phases == 1
