"""The command on finished runs of the point family."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from benchmarks import informative, rivals
from pdt_lightning import compare
from pdt_lightning.comparison import figures, report
from pdt_lightning.comparison import summary as summaries
from pdt_lightning.comparison.plan import (
    ALL,
    BUDGETS,
    DEFAULT,
    WITHOUT_ROLLOUTS,
    Plan,
    claim_folder,
    tuner_names,
    variant_options,
)
from pdt_lightning.core.errors import UserError
from pdt_lightning.core.files import lock
from pdt_lightning.data.segments import Prompt
from pdt_lightning.results.figures import pixels
from pdt_lightning.results.report import HARDLY
from pdt_lightning.tuning.options import TuningOptions
from tests.conftest import POINT_FLAGS
from tests.once import once
from tests.processes import ROOT, command

# Lightning's use of jsonargparse, which in a process of its own nobody sees.
pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

SMALL = [
    "--tasks=[point/03,point/07]",
    "--rounds=12",
    "--seeds=2",
    "--verdict_episodes=3",
    "--oracle_candidates=4",
    "--oracle_episodes=1",
    "--width=8",
]
FIGURES = {"by_rollouts.png", "aggregate.png", "choices.png", "attention.png", "profiles.png"}
SOME = [
    "--tuners",
    "structured",
    "zo_rank_sgd",
    "demonstration_loss",
    "finetune",
    "structured:exploration=ucb,credit=whole",
]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, point_data):
    """Of two pretrainings."""

    def make(folder):
        for seed in (0, 1):
            flags = [f"--trainer.default_root_dir={folder}", "--trainer.max_epochs=1", f"--seed={seed}", "--name=p"]
            command("fit", *POINT_FLAGS, *flags)

    folder = once(tmp_path_factory, "pretrainings", make)
    return [folder / "p" / f"version_{seed}" / "checkpoints" / "last.ckpt" for seed in (0, 1)]


@pytest.fixture(scope="module")
def whole(checkpoints, tmp_path_factory):
    """A finished comparison of all, and what was said."""

    def make(folder):
        done = command("compare", "--ckpt_path", *checkpoints, "--out", folder, "--workers=2", *SMALL)
        (folder / "said.txt").write_text(done.stdout)

    folder = once(tmp_path_factory, "whole_comparison", make)
    return folder, (folder / "said.txt").read_text()


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_tuners_are_compared_on_every_cell(whole):
    folder, said = whole
    found = summary(folder)
    assert found["default"] == DEFAULT
    assert set(found["tuners"]) == set(ALL)
    of_searches = {"rollouts_spent", "rollouts_to_95", "seconds_per_round"}
    wanted = {"return", "low", "high", "interquartile_mean", "success", *of_searches}
    assert all(wanted <= set(own) for own in found["tuners"].values())
    assert wanted - set(found["oracle"]) == of_searches
    rows = table(folder / "results.csv")
    per_tuner = {name: sum(row["tuner"] == name for row in rows) for name in ALL}
    cells = 2 * 2 * 2
    assert per_tuner == {name: 0 if name in WITHOUT_ROLLOUTS else cells * 12 for name in ALL}
    assert len({(row["checkpoint"], row["task"], row["tuner"], row["seed"], row["round"]) for row in rows}) == len(rows)
    judged = table(folder / "recommended.csv")
    assert {int(row["rollouts"]) for row in judged if row["tuner"] == "flat"} == {10, 12}
    assert "steps" in next(row["prompt"] for row in judged if row["tuner"] == "structured")
    text = (folder / "summary.md").read_text()
    assert "python -m pdt_lightning.compare" in text
    assert all(f"| {name}" in text for name in (*ALL, "best found"))
    assert "structured (default)" in said
    assert {path.name for path in (folder / "figures").iterdir()} == FIGURES
    for kind in ("random", "tuned"):
        known = found["attention"][kind]
        assert np.shape(known["by_rank"]) == (2, 2)  # layers, segments
        assert np.sum(known["by_rank"], axis=1) == pytest.approx([1, 1])
        assert all(0 < share < 1 for share in known["to_prompt"])
    assert not list((folder / "journal").glob("*"))
    assert set(found["prompt_sensitivity"]) == {"point/03", "point/07"}
    hardly = [task for task, value in found["prompt_sensitivity"].items() if value < HARDLY]
    assert ("hardly matters" in text) == bool(hardly)


def test_sensitivity_is_the_same_in_compare_and_tune(whole, checkpoints, tmp_path):
    measured = []
    for number, checkpoint in enumerate(checkpoints):
        flags = ["--rounds=0", f"--out={tmp_path / str(number)}", "--verdict_episodes=0", f"--seed={number}"]
        command("tune", f"--ckpt_path={checkpoint}", SMALL[0], *flags)
        tasks = summary(tmp_path / str(number))["tasks"]
        measured.append({task: own["prompt_sensitivity"] for task, own in tasks.items()})
    assert all(0 < value < 1 for own in measured for value in own.values())
    mean = {task: np.mean([own[task] for own in measured]) for task in measured[0]}
    assert summary(whole[0])["prompt_sensitivity"] == pytest.approx(mean)


def test_a_recommended_prompt_of_any_kind_is_judged_again_from_its_file(whole, checkpoints, tmp_path):
    folder, _ = whole
    judged = table(folder / "recommended.csv")
    assert {row["prompt"] for row in judged if row["tuner"] in ("uniform", "finetune")} == {
        "a random prompt in each episode"
    }
    for name in ("structured", "zo_rank_sgd", "oracle"):
        most = max(int(row["rollouts"]) for row in judged if row["tuner"] == name)
        own = [row for row in judged if row["tuner"] == name]
        assert {bool(row["file"]) for row in own if int(row["rollouts"]) == most} == {True}
        assert not any(row["file"] for row in own if int(row["rollouts"]) < most)
        (row,) = [row for row in own if row["file"] == f"prompts/1_{name}/seed_0/point/07.safetensors"]
        assert Prompt.load_with_origin(folder / row["file"])[1] == row["prompt"]
        assert "of demonstration" in row["prompt"]
        prompts, out = folder / "prompts" / f"1_{name}" / "seed_0", tmp_path / name
        flags = [SMALL[0], "--rounds=0", f"--prompts={prompts}", f"--out={out}", "--verdict_episodes=2"]
        command("tune", f"--ckpt_path={checkpoints[1]}", *flags)
        assert summary(out)["tasks"]["point/07"]["prompt"] == row["prompt"]


def test_the_summary_is_of_what_was_judged(whole):
    folder, _ = whole
    found = summary(folder)
    judged = [
        row for row in table(folder / "recommended.csv") if row["tuner"] == "published" and row["rollouts"] == "12"
    ]
    by_task = {
        task: [float(row["return"]) for row in judged if row["task"] == task]
        for task in {row["task"] for row in judged}
    }
    assert found["tuners"]["published"]["return"] == pytest.approx(np.mean([np.mean(own) for own in by_task.values()]))
    ours = [row for row in table(folder / "recommended.csv") if row["tuner"] == DEFAULT and row["rollouts"] == "12"]
    difference = np.mean([float(row["return"]) for row in ours]) - np.mean([float(row["return"]) for row in judged])
    assert found["default_minus"]["published"]["12"]["difference"] == pytest.approx(difference)
    assert found["untuned"] == {**found["tuners"]["uniform"]["by_rollouts"]["12"]}


def test_what_is_done_is_not_done_again_and_another_plan_is_refused(whole, checkpoints, capsys):
    folder, _ = whole
    before = {path: path.stat().st_mtime_ns for path in (folder / "jobs").iterdir()}
    compare.main(["--ckpt_path", *map(str, checkpoints), "--out", str(folder), "--workers=1", *SMALL])
    assert {path: path.stat().st_mtime_ns for path in (folder / "jobs").iterdir()} == before
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        compare.main(["--ckpt_path", *map(str, checkpoints), "--out", str(folder), *SMALL, "--seeds=3"])
    assert ended.value.code == 2
    assert "with other seeds" in capsys.readouterr().err


def test_attention_to_the_informative_segment_is_measured(checkpoints):
    share, most, whole = informative.informative(str(checkpoints[0]), 0, prompts=2)
    assert 0 < share < 1
    assert 0 <= most <= 1
    assert 0 < whole < 1


def test_a_setting_of_a_rival_is_tried_on_training_tasks(checkpoints, monkeypatch):
    monkeypatch.setattr(rivals, "BUDGETS", (2, 4))
    for setting in ((rivals.HillClimbing, {"sigma": 0.3}), (rivals.PublishedBandit, {"rate": 0.01})):
        found = rivals.tried(str(checkpoints[0]), setting, 6, 1, 2)
        assert len(found) == 2
        assert all(-10 <= value <= 10 for value in found)


def test_processes_share_the_jobs_and_find_the_same(checkpoints, tmp_path):
    """Two do so side by side, each job by one of them; one does so alone."""
    flags = ["--ckpt_path", checkpoints[0], "--workers=1", *SMALL, "--tuners", "structured", "zo_rank_sgd"]
    with ThreadPoolExecutor(2) as together:
        said = list(together.map(lambda _: command("compare", *flags, f"--out={tmp_path / 'two'}").stdout, range(2)))
    command("compare", *flags, f"--out={tmp_path / 'one'}")
    for name in ("results.csv", "recommended.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sum("summary.json" in text for text in said) >= 1
    assert sum("Another process writes the tables" in text for text in said) <= 1


def test_what_another_process_was_at_is_done_when_that_ends(checkpoints, tmp_path):
    """It is locked while a process is at work at it, and no longer."""
    flags = ["--ckpt_path", checkpoints[0], "--workers=1", *SMALL, "--tuners", "random_search"]
    held = [lock(tmp_path / name) for name in ("jobs/.0_random_search.lock", ".writer.lock")]
    threading.Timer(6.0, lambda: [file.close() for file in held]).start()
    done = command("compare", *flags, f"--out={tmp_path}")
    assert not any(held and not file.closed for file in held)
    assert "summary.json" in done.stdout


@pytest.fixture(scope="module")
def uninterrupted(checkpoints, tmp_path_factory):
    """Flags of a comparison that takes a while, and the folder of its results."""
    more = [*SMALL, "--verdict_episodes=60", "--tuners", "random_search"]
    flags = [str(flag) for flag in ("--ckpt_path", checkpoints[0], *more)]
    folder = once(
        tmp_path_factory,
        "uninterrupted_comparison",
        lambda folder: command("compare", *flags, "--workers=1", f"--out={folder}"),
    )
    return flags, folder


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_taken_up_again_it_finds_the_same(uninterrupted, tmp_path, sent):
    flags, whole = uninterrupted
    arguments = [sys.executable, "-m", "pdt_lightning.compare", *flags, "--workers=2", f"--out={tmp_path / 'part'}"]
    with (tmp_path / "said").open("w") as said:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, env=environment)
        until = time.monotonic() + 120
        while not any(path.stat().st_size > 2000 for path in (tmp_path / "part" / "journal").rglob("*.jsonl")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(sent)
        assert process.wait(60) == 128 + sent
    text = (tmp_path / "said").read_text()
    assert "Go on:\npython -m pdt_lightning.compare --ckpt_path" in text
    assert "Traceback" not in text
    assert not (tmp_path / "part" / "summary.json").exists()
    kept = [path for path in (tmp_path / "part" / "journal").rglob("*.jsonl") if path.stat().st_size]
    assert kept
    command("compare", *flags, "--workers=1", f"--out={tmp_path / 'part'}")
    for name in ("results.csv", "recommended.csv"):
        assert (tmp_path / "part" / name).read_bytes() == (whole / name).read_bytes()


def test_fewer_segments_than_in_pretraining(checkpoints, tmp_path):
    command(
        "compare",
        "--ckpt_path",
        checkpoints[0],
        "--out",
        tmp_path,
        "--segments=1",
        *SMALL,
        "--tuners",
        "structured",
        "flat",
    )
    judged = table(tmp_path / "recommended.csv")
    assert all(";" not in row["prompt"] for row in judged)
    assert summary(tmp_path)["plan"]["slots"] == 1


WRONG = {
    "no such tuner": (["--tuners", "structurd"], "--tuners=structurd", "Did you mean structured?"),
    "no such option of a variant": (
        ["--tuners", "structured:explore=ucb"],
        "--tuners=structured:explore=ucb",
        "explore is not an option of structured",
    ),
    "no such value of a variant": (
        ["--tuners", "structured:exploration=thomson"],
        "exploration=thomson",
        "Did you mean thompson?",
    ),
    "a variant of what takes no options": (
        ["--tuners", "uniform:features=raw"],
        "--tuners=uniform:features=raw",
        "takes none",
    ),
    "no rounds": (["--rounds=0"], "--rounds=0", "at least 1"),
    "no seeds": (["--seeds=0"], "--seeds=0", "at least 1"),
    "no oracle": (["--oracle_candidates=0"], "--oracle_candidates=0", "at least 1"),
    "no workers": (["--workers=-1"], "--workers=-1", "at least 1"),
    "no width": (["--width=0"], "--width=0", "at least 1"),
    "more segments than in pretraining": (["--segments=3"], "--segments=3", "trained with prompts of 2"),
    "no such task": (["--tasks=[point/99]"], "point/99"),
    "no such precision": (["--precision=16"], "--precision=16", "bf16-true"),
    "misspelt option": (["--round=12"], "--round", "Did you mean --rounds?"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_input_ends_in_one_message_and_leaves_nothing(what, checkpoints, tmp_path, capsys):
    flags, *message = WRONG[what]
    with pytest.raises(SystemExit) as ended:
        compare.main(["--ckpt_path", str(checkpoints[0]), "--out", str(tmp_path / "out"), *SMALL, *flags])
    said = [line for line in capsys.readouterr().err.splitlines() if not line.endswith(" ...")]
    assert ended.value.code == 2
    assert len(said) == 1
    assert [piece for piece in message if piece not in said[0]] == []
    assert not list(tmp_path.iterdir())


def test_checkpoints_that_cannot_be_compared(checkpoints, tmp_path, capsys):
    flags = [
        f"--trainer.default_root_dir={tmp_path / 'runs'}",
        "--trainer.max_epochs=1",
        "--data.segments=1",
        "--name=p",
    ]
    command("fit", *POINT_FLAGS, *flags)
    other = tmp_path / "runs" / "p" / "version_0" / "checkpoints" / "last.ckpt"
    with pytest.raises(SystemExit):
        compare.main(["--ckpt_path", str(checkpoints[0]), str(other), "--out", str(tmp_path / "out"), *SMALL])
    assert "another number of segments" in capsys.readouterr().err


def test_other_tasks_and_candidates_than_the_runs(checkpoints, tmp_path):
    flags = ["--family_options.held_out=[5]", "--family_options.expert_share=0.5", "--tuners", "random_search"]
    command("compare", "--ckpt_path", checkpoints[0], "--out", tmp_path / "out", *SMALL, "--tasks=[point/05]", *flags)
    assert {row["task"] for row in table(tmp_path / "out" / "results.csv")} == {"point/05"}
    assert summary(tmp_path / "out")["plan"]["family_options"] == {"held_out": [5], "expert_share": 0.5}


# The plan and its figures, without rollouts.


def plan(**changes):
    given = {
        "checkpoints": ("a",),
        "tasks": ("t", "u"),
        "names": tuner_names(["structured", "random_search"]),
        "seeds": 2,
        "slots": 1,
    }
    return Plan(**{**given, "options": TuningOptions(rounds=50), "precision": "32-true", "width": 4, **changes})


def test_budgets_end_with_all_rounds():
    assert plan().budgets == [10, 25, 50]
    assert plan(options=TuningOptions(rounds=250)).budgets == list(BUDGETS)
    assert plan(options=TuningOptions(rounds=30)).budgets == [10, 25, 30]
    assert plan(options=TuningOptions(rounds=30), evaluate_after=(1, 3, 100)).budgets == [1, 3, 30]
    with pytest.raises(ValueError, match="budgets`=0"):
        plan(evaluate_after=(0,))


def test_variants_are_the_options_they_name():
    assert variant_options("structured:credit=whole,features=raw", TuningOptions()) == TuningOptions(
        tuner_options={"credit": "whole", "features": "raw"}
    )
    assert variant_options("finetune", TuningOptions(tuner="flat")).tuner == "flat"


def test_variants_of_what_needs_no_rollout_need_none_either():
    assert plan().budgets_of("soft_prompt:agreement=0") == plan().budgets_of("soft_prompt") == [0]
    assert plan().budgets_of("structured:prior=none") == [10, 25, 50]


def test_a_folder_belongs_to_one_plan(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    first = plan(checkpoints=(str(tmp_path / "a"),))
    claim_folder(tmp_path / "out", first)
    claim_folder(tmp_path / "out", first)
    shutil.copy(tmp_path / "a", tmp_path / "moved")
    claim_folder(tmp_path / "out", plan(checkpoints=(str(tmp_path / "moved"),)))  # it is what it holds that counts
    for other, name in (
        (plan(checkpoints=(str(tmp_path / "b"),)), "checkpoints"),
        (plan(checkpoints=first.checkpoints, options=TuningOptions(rounds=51)), "rounds"),
        (plan(checkpoints=first.checkpoints, family_options={"expert_share": 0.5}), "family_options"),
    ):
        with pytest.raises(UserError, match=f"with other {name}"):
            claim_folder(tmp_path / "out", other)


class Known(summaries.Results):
    """Results worked out by hand: two tasks, two seeds, one checkpoint."""

    def __init__(self, values):
        attention = [
            {"kind": "tuned", "shares": [[0.1, 0.7], [0.2, 0.2]]},  # two layers, two segments
            {"kind": "random", "shares": [[0.3, 0.1], [0.25, 0.25]]},
            {"kind": "random", "shares": [[0.1, 0.3], [0.5, 0.0]]},
        ]
        self.plan, self.jobs, self.has_success, self.goal = (
            plan(),
            [{"tuner": "structured", "attention": attention}],
            False,
            "return",
        )
        self.recommended = [
            {
                "checkpoint": 0,
                "tuner": name,
                "task": task,
                "seed": seed,
                "rollouts": rollouts,
                "return": value,
                "success": None,
            }
            for (name, rollouts), own in values.items()
            for (task, seed), value in zip([("t", 0), ("t", 1), ("u", 0), ("u", 1)], own, strict=True)
        ]
        for row in self.recommended:
            row |= {
                "segments": [[0, 1]] if row["tuner"] == "structured" else [],
                "lengths": [8, 6],
                "steps": 3,
                "origin": "",
            }
            row |= {"failed": 0, "last_success": None}
        self.trials = [
            {"checkpoint": 0, "tuner": "structured", "task": task, "seed": seed, "round": n, "return": value}
            for task in "tu"
            for seed in (0, 1)
            for n, value in enumerate((1.0, 9.0))
        ]


KNOWN = {
    ("oracle", 0): [10, 10, 10, 10],
    ("uniform", 50): [0, 0, 0, 0],
    ("structured", 10): [9, 9, 9, 9],
    ("structured", 25): [9, 10, 10, 9],
    ("structured", 50): [10, 10, 10, 10],
    ("random_search", 10): [9, 5, 5, 9],
    ("random_search", 25): [9, 9, 5, 9],
    ("random_search", 50): [9, 9, 9, 9],
}


def test_a_summary_by_hand(monkeypatch):
    options = {"rounds": 50, "verdict_episodes": 7, "oracle_candidates": 9}
    plan = {"options": options, "seeds": 2, "slots": 1, "checkpoints": ["a"]}
    monkeypatch.setattr(Plan, "as_json", lambda self: {"tasks": self.tasks, **plan})
    results = Known(KNOWN)
    found = summaries.summarise(results)
    ours = found["tuners"]["structured"]
    assert ours["rollouts_to_95"] == 25  # 9.5 of 10
    assert found["tuners"]["random_search"]["rollouts_to_95"] is None
    assert ours["simple_regret"] == 0
    assert ours["cumulative_regret"] == 9 + 1
    assert found["tuners"]["random_search"]["simple_regret"] == 1
    ten = found["default_minus"]["random_search"]["10"]
    assert ten["difference"] == 2
    assert ten["improvement"] == 0.75  # on each task half of the pairs are won, half are ties
    assert (ten["low"], ten["high"]) == pytest.approx((2 - 4.3027 * 2**0.5, 2 + 4.3027 * 2**0.5), abs=1e-3)  # df 1 + 1
    tested = [own["p"] for by in found["default_minus"].values() for own in by.values() if own["p"] is not None]
    assert len(tested) == 3  # the others are alike in all cells
    assert ten["p_holm"] == pytest.approx(2 * ten["p"])  # the second least of three
    assert ten["verdict"] == "tie"
    alike = found["default_minus"]["uniform"]["10"]
    assert alike == {**alike, "difference": 9, "low": None, "high": None, "p": None, "p_holm": None, "verdict": None}
    assert found["attention"]["tuned"]["to_prompt"] == pytest.approx([0.8, 0.4])
    assert found["attention"]["random"]["by_rank"] == [pytest.approx([0.75, 0.25]), pytest.approx([0.75, 0.25])]
    header, rows = report.lines({**found, "command": "c"})
    assert [row[0] for row in rows] == ["structured (default)", "random_search", "uniform", "best found"]
    assert all(len(row) == len(header) for row in rows)
    drawn = (
        figures.by_rollouts(found),
        figures.aggregate(found),
        figures.profiles(results, found),
        figures.choices(results),
        figures.attention(found["attention"]),
    )
    for figure in drawn:
        image = pixels(figure)
        assert image.std() > 5
