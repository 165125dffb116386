"""Studies: what they cost is said beforehand, they go on where they were, and their pages say what was compared."""

import csv
import json
import shlex
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import study
from benchmarks.studies import EXPERTS, STUDIES
from pdt_lightning import compare
from pdt_lightning.core import terminal
from pdt_lightning.tasks import make_family
from tests.once import once

SMALL = ("--oracle_candidates=2", "--oracle_episodes=1", "--workers=1")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A study of the sparse point, of seconds, with its place."""
    own = replace(
        STUDIES["point_j2"],
        fit=("--config", "conf/debug.yaml", "--data.segments=2"),
        tuners=("structured", "demonstration_loss", "random_search"),
        rounds=3,
        budgets=(1,),
        episodes=2,
        pretrainings=1,
        seeds=2,
        compare=("--objective=return", *SMALL),
    )
    out = once(tmp_path_factory, "study", lambda folder: study.run(folder, folder / "docs", "point", own))
    return out, own


def test_a_page_has_what_was_compared(done):
    out, own = done
    text = (out / "docs" / "point.md").read_text()
    summary = json.loads((out / "point" / "experts" / "summary.json").read_text())
    assert summary["plan"]["slots"] == 2  # the flags of the pretraining were heard
    header = next(line for line in text.splitlines() if line.startswith("| mean return"))
    assert [cell.strip() for cell in header.split("|")][2:5] == ["0", "1", "3"]
    with (out / "point" / "experts" / "recommended.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["tuner"], row["rollouts"]) == ("random_search", "3")]
    mean = np.mean([float(row["return"]) for row in rows])
    line = next(line for line in text.splitlines() if line.startswith("| random_search |"))
    assert line.split("|")[4].strip().startswith(f"{mean:.2f} ")
    free = next(line for line in text.splitlines() if line.startswith("| demonstration_loss |"))
    assert [cell.strip() for cell in free.split("|")][3:5] == ["", ""]  # judged without a rollout, and nowhere else
    assert "over 2 seeds x 3 tasks of one pretraining" in text
    assert own.published in text
    for figure in ("by_rollouts", "profiles"):
        assert f"](point_experts_{figure}.png)" in text
        assert (out / "docs" / f"point_experts_{figure}.png").stat().st_size > 10_000


def test_the_commands_of_a_page_are_those_that_made_it(done):
    out, own = done
    text = (out / "docs" / "point.md").read_text()
    commands = [line for line in text.splitlines() if line.startswith("python -m ")]
    assert (
        commands[0] == "python -m pdt_lightning.fit --config conf/point.yaml --config conf/debug.yaml --data.segments=2"
    )
    config = compare.parser().parse_args(shlex.split(commands[1])[3:])
    assert (config.rounds, config.budgets, config.seeds) == (own.rounds, list(own.budgets), own.seeds)
    assert config.ckpt_path == [str(study.checkpoint(out, "point", 0))]


def test_what_is_done_is_not_done_again(done, monkeypatch):
    out, own = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.ckpt")}
    monkeypatch.setattr(study.subprocess, "run", lambda command, **_: pytest.fail(str(command)))
    study.pretrain(out, "point", own, 0)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.ckpt")} == before


def test_costs_are_said_for_every_study(tmp_path, capsys):
    wanted = {name: STUDIES[name] for name in ("point_j1", "half_cheetah_vel")}
    terminal.show(study.costs(tmp_path, wanted))
    said = capsys.readouterr().out
    assert all(f" {name} " in said for name in [*wanted, "all"])
    own = STUDIES["half_cheetah_vel"]
    # By hand: 5 tasks, 3 pretrainings and seeds; four that search with 1 to 50 rollouts, two that do not, the untuned.
    cells, budgets = 5 * 3 * 3, 1 + 3 + 5 + 10 + 25 + 50
    searched = 4 * (budgets + 6 * 50) + 2 * 50 + 50 + 50
    best_found = 3 * (5 * (50 * 2 + 12 * 2 + 3 * 4) + 15 * 50)
    assert study.rollouts(tmp_path, "half_cheetah_vel", own, own.settings[0]) == pytest.approx(
        cells * searched + best_found, rel=0.02
    )


def test_settings_of_studies_are_options_of_their_families():
    counts = {
        name: {study.tuned_tasks(own, setting) for setting in own.settings}
        for name, own in STUDIES.items()
        if own.config.startswith(("ant", "half", "point"))  # those of Meta-World, which draws goals, take a minute
    }
    assert counts["ant_dir_ood"] == {3}  # the flags of the pretraining were heard
    assert counts["ant_dir"] == counts["half_cheetah_vel"] == {5}
    with pytest.raises(Exception, match="shares"):
        make_family("ant-dir", {"shares": 1.0})


def test_studies_are_chosen_and_changed(capsys):
    parser = study.arguments()
    found = study.chosen(parser.parse_args(["ant_dir", "--settings", "experts", "--pretrainings", "1"]), parser)
    assert list(found) == ["ant_dir"]
    assert found["ant_dir"].settings == (EXPERTS,)
    assert (found["ant_dir"].pretrainings, found["ant_dir"].seeds) == (1, 3)
    for flags, said in ((["nothing"], "there is no study"), (["ml10", "--settings", "one"], "It has: experts")):
        with pytest.raises(SystemExit):
            study.chosen(parser.parse_args(flags), parser)
        assert said in capsys.readouterr().err
