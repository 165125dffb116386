"""TensorBoard on a finished run: what its plugins find there, and what a browser shows of it."""

import json
import re
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pdt_lightning.callbacks.board import KINDS, SHARED, write_curves
from pdt_lightning.tuning.result import EpisodeStatistics, TaskResult
from tests.browser import chromium, crop, look
from tests.conftest import POINT_FLAGS
from tests.processes import FIGURES, command

needs_a_browser = pytest.mark.skipif(chromium() is None, reason="there is no Chromium to look at TensorBoard with")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, point_data):
    """Of a run that was taken up again, so that it has two event files."""
    root = tmp_path_factory.mktemp("board")
    flags = [*POINT_FLAGS, "--name=b", f"--trainer.default_root_dir={root}"]
    command("fit", *flags, "--trainer.max_epochs=1", draws=FIGURES)
    command("fit", *flags, "--trainer.max_epochs=2", "--ckpt_path=last", draws=FIGURES)
    return root / "b" / "version_0"


@pytest.fixture(scope="module")
def board(folder):
    """Address of TensorBoard, as a user starts it."""
    arguments = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port=0", "--host=127.0.0.1"]
    server = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    watchdog = threading.Timer(300, server.kill)
    watchdog.start()
    try:
        said = []
        for line in server.stderr:
            said.append(line)
            if match := re.search(r"http://[^ ]+", line):
                break
        else:
            pytest.fail("TensorBoard did not start: " + "".join(said))
        yield match[0]
    finally:
        watchdog.cancel()
        server.kill()
        server.wait()
        server.stderr.close()


def ask(board, route, body=None):
    """What a plugin answers."""
    request = urllib.request.Request(f"{board}data/plugin/{route}", None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return json.load(answer)


def test_the_hyper_parameters_have_one_row_with_the_metrics_that_matter(folder, board):
    experiment = ask(board, "hparams/experiment", {})
    names = {known["name"] for known in experiment["hparamInfos"]}
    assert {
        "seed",
        "data.family",
        "data.segment_steps",
        "model.width",
        "tuning.tuner",
        "tuning.rounds",
        "trainer.precision",
    } <= names
    assert not {"data.seed", "tuning.workers", "data.progress"} & names
    assert "data.family_options.training_demonstrations" in names
    body = {
        "startIndex": 0,
        "sliceSize": 10,
        "allowedStatuses": ["STATUS_SUCCESS", "STATUS_UNKNOWN", "STATUS_RUNNING"],
        "colParams": [],
    }
    groups = ask(board, "hparams/session_groups", body)["sessionGroups"]
    assert len(groups) == 1  # the curves of the phases are no runs of their own here
    values = {metric["name"]["tag"]: metric["value"] for metric in groups[0]["metricValues"]}
    summary = json.loads((folder / "summary.json").read_text())["aggregate"]
    for kind in ("untuned", "tuned", "oracle"):
        for key in ("return", "success"):
            assert values[f"tuning/{kind}_{key}"] == pytest.approx(summary[kind][key], abs=1e-5)
    assert values["val/action_error"] > 0
    assert groups[0]["hparams"]["data.segments"] == 2
    assert values["epoch"] == 1  # of 0 and 1


def test_the_configuration_is_there_as_text(folder, board):
    (shown,) = ask(board, "text/text?run=.&tag=configuration%2Ftext_summary")
    for line in (folder / "config.yaml").read_text().splitlines():
        if re.fullmatch(r"[\w. :-]+", line):
            assert line in shown["text"]


def test_the_layout_draws_what_belongs_together_in_one_chart(board):
    charts = {
        chart["title"]: chart["multiline"]["tag"]
        for part in ask(board, "custom_scalars/layout")["category"]
        for chart in part["chart"]
    }
    assert list(charts) == [
        "success: untuned, tuned, oracle",
        "return: untuned, tuned, oracle",
        "loss",
        "action error: validation, held-out tasks",
    ]
    of_kinds = [
        (f"tuning/{kind}", f"{key}: untuned, tuned, oracle", key) for kind in KINDS for key in ("success", "return")
    ]
    for run, title, name in (*of_kinds, (".", "action error: validation, held-out tasks", "action_error")):
        tag = charts[title][0]
        found = ask(board, f"custom_scalars/scalars?run={run}&tag={urllib.request.quote(tag)}")
        assert found["regex_valid"]
        (curve,) = found["tag_to_events"]
        assert name in curve


def test_tuned_untuned_and_oracle_are_runs_of_their_own_and_come_first(folder, board):
    """TensorBoard colours by run, and sorts by tag."""
    tags = ask(board, "scalars/tags")
    assert min(tag for known in tags.values() for tag in known).startswith(SHARED)
    summary = json.loads((folder / "summary.json").read_text())["aggregate"]
    for kind in KINDS:
        assert set(tags[f"tuning/{kind}"]) == {f"{SHARED}/return", f"{SHARED}/success"}
        tag = urllib.request.quote(f"{SHARED}/return")
        events = ask(board, f"scalars/scalars?run=tuning/{kind}&tag={tag}")
        assert [step for _, step, _ in events] == [2, 5]
        assert events[-1][2] == pytest.approx(summary[kind]["return"], rel=1e-5)


def test_a_table_by_task_stands_under_text(folder, board):
    *_, shown = ask(board, "text/text?run=.&tag=held-out%20tasks%2Ftext_summary")
    tasks = json.loads((folder / "summary.json").read_text())["tasks"]
    for name, figures in tasks.items():
        (row,) = re.findall(rf"<td>{name}</td>.*?</tr>", shown["text"], re.S)
        assert f"return {figures['tuned']['return']:.1f}" in row


def colourful(pixels):
    """Share of pixels that are neither white, grey nor black, as a curve is and axes are not."""
    return float((np.ptp(pixels.astype(int), axis=-1) > 20).mean())


@needs_a_browser
def test_the_browser_shows_curves(board):
    async def charts(find):
        return [
            one for one in await find("line-chart") if one["width"] > 100 and one["height"] > 80 and one["y"] < 1400
        ]

    found, page = look(f"{board}?tagFilter=loss%7Caction_error#timeseries", charts)
    assert len(found) >= 3
    for chart in found[:3]:
        assert colourful(crop(page, chart)) > 0.001


@needs_a_browser
def test_the_browser_shows_the_layout(board):
    async def charts(find):
        return [one for one in await find("vz-line-chart2") if one["width"] > 100]

    found, page = look(f"{board}#custom_scalars", charts)
    assert len(found) == 4
    for chart in found:
        assert colourful(crop(page, chart)) > 0.001


@needs_a_browser
def test_the_browser_shows_the_figures_as_they_were_drawn(folder, board):
    async def images(find):
        found = await find("img")
        loaded = [one for one in found if one["loaded"] and one["width"] > 100 and "images" in one["source"]]
        return loaded if len(loaded) == len(found) else []

    found, page = look(f"{board}#images", images, size=(1600, 6000))
    drawn = [
        np.asarray(Image.open(path).convert("RGB").resize((60, 30))) for path in (folder / "figures").rglob("*.png")
    ]
    assert found
    for one in found:
        shown = np.asarray(Image.fromarray(crop(page, one)).resize((60, 30)))
        assert shown.std() > 5
        assert min(np.abs(shown.astype(int) - figure).mean() for figure in drawn) < 8


@needs_a_browser
def test_the_browser_shows_the_hyper_parameters(board):
    async def table(find):
        return [one for one in await find("tf-hparams-table-view") if one["height"] > 50]

    found, page = look(f"{board}#hparams", table)
    assert found
    assert crop(page, found[0]).std() > 5


def test_what_a_tuner_learned_by_is_a_curve_of_its_phase(tmp_path):
    episodes = EpisodeStatistics([1.0])
    curves = {"guidance": np.array([0.5, 0.25]), "denoising of all tasks": np.array([1.0])}
    write_curves(tmp_path, [TaskResult("a/1", True, *[episodes] * 4, None, [], None, "", 0.0, curves=curves)])
    board = EventAccumulator(str(tmp_path)).Reload()
    assert set(board.Tags()["scalars"]) == {"guidance/a/1", "denoising_of_all_tasks/a/1"}
    assert [(one.step, one.value) for one in board.Scalars("guidance/a/1")] == [(0, 0.5), (1, 0.25)]
