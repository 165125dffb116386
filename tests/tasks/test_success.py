"""One rule of reading success, whoever reports it."""

import numpy as np
import pytest

from pdt_lightning.tasks.success import highest_and_last, of_step, of_steps


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"success": 1}, 1.0),
        ({"success": np.bool_(True)}, 1.0),
        ({"is_success": False}, 0.0),
        ({"success": np.array([1.0])}, 1.0),
        ({"success": np.array(0.25, np.float32)}, 0.25),
        ({"success": -1}, 0.0),
        ({"success": 7}, 1.0),
        ({"success": float("nan"), "is_success": True}, 1.0),
        ({"success": float("nan")}, None),
        ({"success": None}, None),
        ({"success": "yes"}, None),
        ({"success": {"door": 1}}, None),
        ({"success": [0.0, 1.0]}, None),
        ({"other": 1.0}, None),
        ({}, None),
    ],
)
def test_a_step_reports_a_number_or_nothing(info, expected):
    assert of_step(info) == expected


def test_recorded_steps_are_read_by_the_same_rule():
    assert of_steps({"is_success": np.array([[True], [False]])}, 2).tolist() == [1.0, 0.0]
    seen = of_steps({"success": np.array([0.0, np.nan, 1.0]), "is_success": np.array([1.0, 1.0, 0.0])}, 3)
    assert seen.tolist() == [0.0, 1.0, 1.0]
    assert np.isnan(of_steps({"success": np.zeros(7)}, 3)).all()
    assert np.isnan(of_steps({}, 3)).all()


def test_of_an_episode():
    assert highest_and_last(np.array([0.0, 1.0, 0.5])) == (1.0, 0.5)
    assert highest_and_last(np.array([1.0, np.nan])) == (1.0, None)
    assert highest_and_last(np.array([np.nan])) == (None, None)
