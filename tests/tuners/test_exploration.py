"""Sparsemax, against numbers worked out by hand and against plain ways to find the threshold."""

import numpy as np
import pytest

from pdt_lightning.tuners.exploration import Sparsemax, sparsemax
from pdt_lightning.tuners.reward_models import LinearModel


def by_bisection(values):
    """The threshold at which what lies above it sums to one, found by halving."""
    low, high = values.max() - 1, values.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(values - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(values - low, 0)


def by_sorting(values):
    """As many of the highest values as stay above the threshold that they alone would have."""
    kept = []
    for value in sorted(values, reverse=True):
        if value <= (sum([*kept, value]) - 1) / (len(kept) + 1):
            break
        kept.append(value)
    return np.maximum(values - (sum(kept) - 1) / len(kept), 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 0.8, 0.1], [0.6, 0.4, 0.0]),  # (1 + 0.8 - 1) / 2 = 0.4 is taken off
        ([0.5, 0.5, 0.5, 0.5], [0.25] * 4),
        ([2.0, -1.0, 2.0], [0.5, 0.0, 0.5]),
        ([-5.0, 3.0, 1.9], [0.0, 1.0, 0.0]),  # more than one ahead
        ([7.0], [1.0]),
    ],
)
def test_the_projection_by_hand(values, expected):
    assert sparsemax(np.array(values)) == pytest.approx(np.array(expected))
    assert sparsemax(np.array(values) + 1e6) == pytest.approx(np.array(expected), abs=1e-8)


@pytest.mark.parametrize("spread", [0.01, 0.3, 5.0])
def test_the_projection_against_plain_ones(spread):
    values = spread * np.random.default_rng(3).normal(size=(6, 40))
    found = sparsemax(values)
    assert found.sum(axis=1) == pytest.approx(1)
    for row, own in zip(values, found, strict=True):
        assert own == pytest.approx(by_sorting(row), abs=1e-12)
        assert own == pytest.approx(by_bisection(row), abs=1e-12)


def test_segments_are_drawn_with_these_probabilities_slot_by_slot():
    model, drawn = LinearModel(np.eye(3), 2), np.zeros((2, 3))
    model._mean = np.array([[2.0, 1.6, 0.2], [0.2, 9.0, 0.2]])
    rng = np.random.default_rng(0)
    for _ in range(2000):
        drawn[[0, 1], Sparsemax(2.0).choose(model, 0.5, rng, ())] += 1 / 2000
    assert drawn[0] == pytest.approx([0.6, 0.4, 0.0], abs=0.04)
    assert drawn[0, 2] == 0.0
    assert drawn[1] == pytest.approx([0.0, 1.0, 0.0])
    # What is open is not tried again, though nothing else has a chance.
    assert Sparsemax(2.0).choose(model, 0.5, rng, [(0, 1), (1, 1)]) not in [(0, 1), (1, 1)]
