"""README's commands are parsed at full size, and run at a small one; its Python runs as it is, for fewer epochs."""

import json
import re
import shlex

import pytest

from pdt_lightning import collect, fit
from pdt_lightning.tuners import TUNERS
from tests.conftest import POINT_FLAGS
from tests.processes import ROOT, command

README = (ROOT / "README.md").read_text()
# A user's package stands there; ours in its place is that of the tests.
TESTED = README.replace("my_package.Mine", "tests.guests.Every")
TESTED = TESTED.replace("options.width", "options.stride").replace("Every:width", "Every:stride")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", TESTED, re.S) for line in block.splitlines()]
FITS = [shlex.split(line)[3:] for line in COMMANDS if line.startswith("python -m pdt_lightning.fit")]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)
COLLECTS = [shlex.split(line)[3:] for line in COMMANDS if line.startswith("python -m pdt_lightning.collect")]
COMPARES = [shlex.split(line)[3:] for line in COMMANDS if line.startswith("python -m pdt_lightning.compare")]
TRANSFERS = [shlex.split(line)[3:] for line in COMMANDS if line.startswith("python -m pdt_lightning.transfer")]
TUNES = [shlex.split(line)[3:] for line in COMMANDS if line.startswith("python -m pdt_lightning.tune")]
# Of a user's file; see test_own_data.py.
OWN = [flags for flags in (*FITS, *TUNES, *COLLECTS) if "own_data" in " ".join(flags)]
FITS, TUNES, COLLECTS = ([flags for flags in kind if flags not in OWN] for kind in (FITS, TUNES, COLLECTS))


def test_all_commands_are_known():
    # The test of the wheel tries the first two.
    installed = ["pip install 'pdt-lightning[metaworld]'", "pdt-fit --config metaworld.yaml"]
    assert COMMANDS[:4] == [*installed, "make fit", "make test"]
    assert len(COMMANDS) == 2 + len(installed) + sum(map(len, (FITS, TUNES, COLLECTS, COMPARES, TRANSFERS, OWN)))
    assert len(OWN) == 3
    targets = re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    assert {"setup", "fit", "test", "check", "help"} <= set(targets)


@pytest.mark.parametrize("flags", [flags for flags in FITS if "--ckpt_path" not in flags], ids=" ".join)
def test_a_fit_command_parses_at_full_size(flags, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        fit.main([*flags, *(() if "--print_config" in flags else ("--print_config",))])
    assert end.value.code == 0
    assert "rounds:" in capsys.readouterr().out


def test_the_commands_that_collect_are_understood():
    for flags in COLLECTS:
        published = flags[0] == collect.IMPORT
        parsed = collect.import_parser().parse_args(flags[1:]) if published else collect.parser().parse_args(flags)
        assert parsed.family == "half-cheetah-vel"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, point_data):
    """A run of the point family where README's commands expect one of Meta-World."""
    folder = tmp_path_factory.mktemp("readme")
    command(
        "fit",
        *POINT_FLAGS,
        "--name=metaworld",
        f"--trainer.default_root_dir={folder / 'runs'}",
        "--trainer.max_epochs=1",
    )
    return folder


@pytest.mark.parametrize("flags", TUNES, ids=" ".join)
def test_a_tune_command_runs(runs, flags, tmp_path):
    there = [flag.replace("runs/", f"{runs}/runs/", 1) for flag in flags]
    small = ["--verdict_episodes=2", f"--out={tmp_path}"] + ([] if "0" in flags else ["--parallel=16", "--rounds=16"])
    command("tune", *there, *small)
    assert (tmp_path / "summary.json").exists()


@pytest.mark.parametrize("flags", COMPARES, ids=" ".join)
def test_a_compare_command_runs(runs, flags, tmp_path):
    there = [flag.replace("runs/point/", f"{runs}/runs/metaworld/", 1) for flag in flags]
    small = [
        "--rounds=4",
        "--seeds=1",
        "--verdict_episodes=2",
        "--oracle_candidates=2",
        "--oracle_episodes=1",
        "--workers=1",
        "--tasks=[point/03]",
    ]
    command("compare", *there, *small, f"--out={tmp_path}")
    found = set(json.loads((tmp_path / "summary.json").read_text())["tuners"])
    listed = re.findall(r"^\| `(\w+)` \|", README, re.M)
    named = {name for name in flags if name in TUNERS or ":" in name}
    assert found == (set(listed) & {*TUNERS, "finetune"} if "all" in flags else {*named, "uniform"})


@pytest.mark.parametrize("flags", TRANSFERS, ids=" ".join)
def test_a_transfer_command_runs(runs, flags, tmp_path):
    there = [re.sub("runs/point/version_[01]", f"{runs}/runs/metaworld/version_0", flag) for flag in flags]
    command("transfer", *there, "--episodes=1", "--tasks=[point/03]", f"--out={tmp_path}")
    assert (tmp_path / "figures" / "transfer.png").exists()


def test_the_resuming_command_goes_on_where_the_run_stopped(runs):
    (flags,) = [flags for flags in FITS if "--ckpt_path" in flags]
    assert flags[:2] == ["--config", "conf/metaworld.yaml"]
    small = [*POINT_FLAGS, "--name=metaworld", f"--trainer.default_root_dir={runs / 'runs'}", "--trainer.max_epochs=2"]
    done = command("fit", *small, *flags[2:])
    assert "last.ckpt" in done.stdout
    assert json.loads((runs / "runs" / "metaworld" / "version_0" / "summary.json").read_text())["epoch"] == 1


def test_the_result_is_used_as_shown(runs, monkeypatch):
    block, _ = PYTHON
    monkeypatch.chdir(runs)
    shown: dict = {}
    exec(compile(block.replace("pick-place-v3/11", "point/03"), "README.md", "exec"), shown)
    assert shown["over"]
    assert shown["policy"].facts["task"] == "point/03"


@pytest.mark.filterwarnings("ignore:.*log_every_n_steps.*")
def test_the_python_example_runs(tmp_path, monkeypatch):
    _, block = PYTHON
    monkeypatch.chdir(tmp_path)
    small = block.replace("segment_steps=3)", "segment_steps=3, updates_per_epoch=2, progress=False)")
    small = small.replace(
        "max_epochs=4", "max_epochs=1, accelerator='cpu', enable_progress_bar=False, enable_model_summary=False"
    )
    small = small.replace("rounds=100", "rounds=4, verdict_episodes=2, oracle_candidates=2, progress=False")
    assert small.count("progress=False") == 2
    assert "max_epochs=1" in small
    exec(compile(small, "README.md", "exec"), {"__name__": "__main__"})
    assert list(tmp_path.rglob("summary.json"))


def test_the_yaml_example_is_accepted():
    import yaml

    from pdt_lightning.tasks.listed import OPTIONS

    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.S)
    options = yaml.safe_load(block)["data"]["family_options"]
    assert all(set(entry) <= set(OPTIONS) for group in ("training", "held_out") for entry in options[group])
