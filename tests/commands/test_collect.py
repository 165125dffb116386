"""The command that collects, trains experts and imports."""

import json
import sys

import numpy as np
import pytest
from safetensors import safe_open

from pdt_lightning import collect
from pdt_lightning.core.errors import UserError
from pdt_lightning.data import minari, practice
from pdt_lightning.tasks import make_family
from pdt_lightning.tasks.ant import AntDirectionFamily
from pdt_lightning.tasks.half_cheetah import HalfCheetahDirectionFamily
from pdt_lightning.tasks.learned import LearnedFamily
from tests.data.test_prompt_dt import VELOCITY, episodes, write

POINT = ["point", '--family_options={"training_demonstrations": 3, "candidate_demonstrations": 2}', "--workers=1"]
SMALL = '{"training_demonstrations": 3, "candidate_demonstrations": 2, "action_noise": 0.0}'


# Lightning's use of jsonargparse, which in a process of its own nobody sees.
pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")


@pytest.fixture(autouse=True)
def own_datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def ended(main, flags):
    with pytest.raises(SystemExit) as end:
        main([str(flag) for flag in flags])
    return end.value.code


def test_what_a_run_needs_is_collected_once(capsys):
    collect.main(POINT)
    said = capsys.readouterr().out
    assert "16 of them are new" in said
    assert "to train on" in said
    family = make_family("point", {"training_demonstrations": 3, "candidate_demonstrations": 2})
    assert minari.exists(family.training_tasks[0].training_data[0])
    assert minari.exists(family.heldout_tasks[0].prompt_data[0])
    collect.main(POINT)
    assert "0 of them are new" in capsys.readouterr().out


def test_experts_are_trained_examined_and_used(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(HalfCheetahDirectionFamily, "floor", staticmethod(lambda task: -1000.0))
    out = tmp_path / "own" / "experts.safetensors"
    flags = [
        "half-cheetah-dir",
        "--train",
        f"--out={out}",
        "--steps=10000",
        "--seed=3",
        f"--family_options={SMALL}",
        "--workers=1",
    ]
    collect.main(flags)
    said = capsys.readouterr().out
    assert f"--data.family_options.experts={out}" in said
    with safe_open(out, "numpy") as file:
        known = json.loads(file.metadata()["about"])
    assert known[
        "command"
    ] == f"python -m pdt_lightning.collect half-cheetah-dir --train --out={out} --steps=10000 --seed=3 " + (
        f"'--family_options={SMALL}' --workers=1"
    )
    assert (known["family"], known["seed"], known["steps"]) == ("half-cheetah-dir", 3, 10000)
    options = {**json.loads(SMALL), "experts": str(out)}
    assert all(minari.exists(name) for name in make_family("half-cheetah-dir", options).recipes)


def test_experts_below_the_floor_collect_nothing(tmp_path, capsys):
    flags = ["half-cheetah-dir", "--train", f"--out={tmp_path / 'weak.safetensors'}", "--steps=10000"]
    assert ended(collect.main, flags) == 2
    said = capsys.readouterr().err
    assert "less than the floor in 2 of 2 tasks, such as half-cheetah-dir/00" in said
    assert "Remove that file, and raise --steps" in said
    assert not (tmp_path / "minari").exists()


def test_experts_are_judged_in_the_tasks_of_all_splits(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        practice, "returns_of", lambda path, stage, tasks: np.where([task.id[-2:] == "06" for task in tasks], 0, 999)
    )
    with pytest.raises(UserError, match=r"in 1 of 50 tasks, such as ant-dir/06"):
        collect.examine(AntDirectionFamily, "file")


@pytest.mark.parametrize("flag", ["--out=own.safetensors", "--steps=20000", "--seed=0", "--steps=0"])
def test_options_of_training_are_refused_without_it(flag, capsys):
    assert ended(collect.main, [*POINT, flag]) == 2
    said = capsys.readouterr().err
    assert f"{flag} is of training experts, without --train" in said
    assert "Add --train" in said


def test_no_steps_are_too_few(tmp_path, capsys):
    assert ended(collect.main, ["half-cheetah-vel", "--train", f"--out={tmp_path / 'x.safetensors'}", "--steps=0"]) == 2
    assert "--steps=0: it has to be at least 10,000" in capsys.readouterr().err


def test_a_seed_gives_the_same_experts(tmp_path):
    from pdt_lightning.data.practice import train

    for name in "ab":
        train(HalfCheetahDirectionFamily, tmp_path / name, 4000, 1, "test", progress=False)
    train(HalfCheetahDirectionFamily, tmp_path / "c", 4000, 2, "test", progress=False)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_training_without_stable_baselines3(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    assert ended(collect.main, ["half-cheetah-vel", "--train", f"--out={tmp_path / 'x.safetensors'}"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'pdt-lightning[experts]'" in said
    assert "use the experts that ship" in said
    assert not list(tmp_path.iterdir())


def test_an_import_of_some_tasks_says_what_is_missing(tmp_path, capsys):
    write(tmp_path, episodes(VELOCITY, 5), "cheetah_vel-5-prompt-expert.pkl")
    collect.main(["import-prompt-dt", tmp_path, "--family=half-cheetah-vel"])
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of them are new" in said
    assert "34 of 35 tasks still want their file, such as cheetah_vel-0-prompt-expert.pkl" in said
    assert "training_source" not in said
    collect.main(["import-prompt-dt", tmp_path, "--family=half-cheetah-vel"])
    assert "0 of them are new" in capsys.readouterr().out


def test_a_family_without_published_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(VELOCITY, "file_prefix", LearnedFamily.file_prefix)
    assert ended(collect.main, ["import-prompt-dt", tmp_path, "--family=half-cheetah-vel"]) == 2
    assert "--family=half-cheetah-vel: no files of it were published" in capsys.readouterr().err


def test_imported_data_train_and_tune(tmp_path, capsys):
    from pdt_lightning import fit

    folder = tmp_path / "files"
    folder.mkdir()
    family = make_family("half-cheetah-vel")
    for number in (int(task.id[-2:]) for task in family.training_tasks):
        write(folder, episodes(VELOCITY, number, count=3, steps=25), f"cheetah_vel-{number}-prompt-expert.pkl")
    collect.main(["import-prompt-dt", folder, "--family=half-cheetah-vel"])
    said = capsys.readouterr().out
    assert "training_source=prompt-dt-prompts" in said
    assert "cheetah_vel-39-prompt-expert.pkl" in said
    imported = ["--data.family=half-cheetah-vel", "--data.family_options.training_source=prompt-dt-prompts"]
    flags = [
        "--config=conf/debug.yaml",
        *imported,
        "--data.family_options.candidate_demonstrations=1",
        "--data.batch_size=35",
    ]
    flags += [
        "--data.progress=false",
        "--tuning.progress=false",
        "--trainer.enable_progress_bar=false",
        "--trainer.accelerator=cpu",
    ]
    flags += [
        "--model.width=16",
        "--model.warmup_updates=1",
        "--tuning.tasks=[half-cheetah-vel/02]",
        "--trainer.precision=32-true",
    ]
    fit.main([*flags, f"--trainer.default_root_dir={tmp_path / 'runs'}"])
    summary = json.loads((tmp_path / "runs" / "debug" / "version_0" / "summary.json").read_text())
    assert set(summary["tasks"]) == {"half-cheetah-vel/02"}
