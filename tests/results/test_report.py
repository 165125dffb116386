import csv
import json

import pytest

from pdt_lightning.results import report
from pdt_lightning.rollouts.rollout import Outcome
from pdt_lightning.tuners import Candidate
from pdt_lightning.tuning.result import EpisodeStatistics, TaskResult
from pdt_lightning.tuning.search import Trial


def result(task="a/1", tuned=(1.0, 3.0), oracle=None):
    trials = [
        Trial(Candidate(0, None, "steps 3-4"), Outcome(1.5, 1.0, 9), 0.7, 11),  # type: ignore[arg-type]
        Trial(Candidate(1, None, "drawn"), Outcome(0.0, None, 2, failed="OSError: x"), 0.7, 12),  # type: ignore[arg-type]
    ]
    none = EpisodeStatistics([0.0, 0.0], [0.0, 1.0])
    return TaskResult(
        task,
        True,
        EpisodeStatistics([9.0], [1.0]),
        none,
        none,
        EpisodeStatistics(list(tuned), [1.0, 1.0]),
        oracle,
        trials,
        None,
        "here",
        0.7,
    )  # type: ignore[arg-type]


def test_the_summary_has_the_promised_shape():
    summary = json.loads(json.dumps(report.summarise([result(), result("a/2", tuned=(5.0, 5.0))])))
    assert set(summary) == {"tasks", "aggregate"}
    assert set(summary["tasks"]) == {"a/1", "a/2"}
    own = summary["tasks"]["a/1"]
    assert own["rollouts"] == 2
    assert own["tuned"]["return"] == 2.0
    assert own["tuned"]["low"] == pytest.approx(2 - 12.706, abs=1e-3)  # a t interval of two
    assert own["tuned"]["high"] == pytest.approx(2 + 12.706, abs=1e-3)
    assert own["untuned"]["success"] == 0.5
    assert own["oracle"] is None
    assert summary["aggregate"]["tuned"]["return"] == 3.5
    assert summary["aggregate"]["tuned"]["success"] == 1.0


def test_a_perfect_rate_is_no_certainty_and_equal_returns_have_no_interval():
    own = report.summary_of_episodes([EpisodeStatistics([7.0] * 25, [1.0] * 25)])
    assert own["success"] == 1.0
    assert 0.85 < own["success_low"] < 0.88
    assert own["return"] == 7.0
    assert own["low"] is None
    assert own["high"] is None


def test_rows_of_a_phase_that_is_run_again_replace_the_old_ones(tmp_path):
    path = tmp_path / "tuning.csv"
    for phase in (0, 1, 2):
        report.append_tuning(path, report.tuning_rows([result()], phase, 2 * phase, "structured"), phase)
    with path.open("a") as file:
        file.write("2,4,a/1,struct")  # the end of a write that was cut off
    report.append_tuning(path, report.tuning_rows([result()], 1, 2, "structured"), 1)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == report.COLUMNS
    assert [row["phase"] for row in rows] == ["0", "0", "1", "1"]
    assert [row["prompt"] for row in rows[:2]] == ["steps 3-4", "drawn"]
    assert [row["return"] for row in rows[:2]] == ["1.5", ""]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    report.write_atomically(path, "old")
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        report.write_atomically(path, "new")
    assert path.read_text() == "old"


def with_sensitivity(**by_task):
    made = [result(task) for task in by_task]
    for one in made:
        one.prompt_sensitivity = by_task[one.task]
    return made


def test_the_summary_has_the_sensitivity_where_it_was_measured():
    tasks = report.summarise(with_sensitivity(a=0.25, b=float("nan")))["tasks"]
    assert [own["prompt_sensitivity"] for own in tasks.values()] == [0.25, None]


def test_the_table_speaks_of_sensitivity_where_the_prompt_hardly_matters(capsys):
    report.print_table(with_sensitivity(a=0.25, b=float("nan")), "Title")
    assert "hardly" not in capsys.readouterr().out
    for known, where in (
        ({"a": 0.25, "b": 0.01}, "b"),
        ({"a": 0.02, "b": 0.01}, "any task"),
        (dict(a=1.0, **dict.fromkeys("bcdef", 0.0)), "b, c, d and 2 more"),
    ):
        report.print_table(with_sensitivity(**known), "Title")
        said = " ".join(capsys.readouterr().out.split())
        assert f"which prompt is given hardly matters on {where}: the prompt sensitivity is below 0.05" in said


def test_the_table_shows_all_of_it(capsys):
    report.print_table([result(oracle=EpisodeStatistics([4.0, 4.0], [1.0, 1.0]))], "Title")
    shown = capsys.readouterr().out
    for text in (
        "Title",
        "a/1",
        "expert",
        "untuned",
        "tuned",
        "best found",
        "return 2.0 [-10.7, 14.7]",
        "return 4.0 (n/a)",
        "success 0.50",
        "here",
        "all",
    ):
        assert text in shown
