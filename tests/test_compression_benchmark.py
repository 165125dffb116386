"""The curve of return and speed over the tokens of a prompt."""

import numpy as np
import pytest

from benchmarks import compression
from benchmarks.compression import CHOSEN, RANDOM, SHORTER, Curve
from pdt_lightning.results.figures import pixels
from pdt_lightning.rollouts.rollout import Row


@pytest.fixture
def curve():
    won, lost = np.full((3, 4), 10.0), np.full((3, 4), -10.0)
    mixed = np.array([[10.0, 10.0, 10.0, -10.0]] * 3)
    returns = {
        CHOSEN: {1: lost, 2: lost, 3: mixed, 6: won},
        RANDOM: {1: lost, 2: lost, 3: lost, 6: mixed},
        SHORTER: {3: lost, 6: won},
    }
    return Curve("point", returns, {1: [1.0, 2.0], 2: [1.0, 2.0], 3: [2.0, 2.0], 6: [2.0, 6.0]})


def test_the_table_has_returns_with_intervals_and_speed_against_the_whole_prompt(curve):
    lines = compression.table(curve).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 6", "| 3", "| 2", "| 1"]
    assert lines[2].startswith("| 6 | 10.0 | 5.0 [")
    assert lines[2].endswith("| 10.0 | 1.00 (1.00 to 1.00) |")
    assert lines[3].endswith("| -10.0 | 2.00 (1.00 to 3.00) |")  # the median of 1 and 3
    assert lines[5].endswith("|  | 2.50 (2.00 to 3.00) |")


def test_the_figure_has_a_column_for_each_checkpoint(curve):
    figure = compression.drawn([curve, curve])
    assert len(figure.axes) == 4
    assert list(figure.axes[2].lines[0].get_ydata()) == [2.5, 2.5, 2.0, 1.0]
    assert pixels(figure).shape[2] == 3


def test_a_shorter_prompt_has_steps_evenly_apart(point_data):
    task = point_data.heldout_tasks[0]
    row = Row(task, point_data.segments(task.id).gather(np.array([[0, 9]])), 0)
    short = compression.shortened(row, 3)
    assert short.prompt.timesteps[0].tolist() == row.prompt.timesteps[0, [0, 2, 5]].tolist()
    assert short.prompt.states.shape == (1, 3, 2)


def test_it_plays_all_prompts_of_a_checkpoint(point_data, point_module, monkeypatch):
    monkeypatch.setattr(compression, "load", lambda path: (point_module, point_data))
    measured = compression.measured("a.ckpt", episodes=2, repeats=1, width=4)
    assert measured.title == "point, 2 x 3 steps, published form"
    assert (
        list(measured.returns[CHOSEN])
        == list(measured.returns[RANDOM])
        == list(measured.seconds)
        == [1, 2, 3, 6, 12, 18]
    )
    assert list(measured.returns[SHORTER]) == [3, 6, 12, 18]
    assert np.array_equal(measured.returns[SHORTER][18], measured.returns[CHOSEN][18])
    assert all(values.shape == (3, 2) for by in measured.returns.values() for values in by.values())
