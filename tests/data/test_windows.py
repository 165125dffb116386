import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.minari import Demonstration
from pdt_lightning.data.normalisation import Statistics
from pdt_lightning.data.windows import Steps, context_windows

LENGTHS = [4, 1, 7, 3]


def episodes(lengths=LENGTHS, tasks=2):
    """Every value tells its episode and step."""
    made = []
    for number, length in enumerate(lengths):
        step = np.arange(length, dtype=np.float32)
        values = np.stack([np.full(length, number, np.float32), step], axis=1)
        made.append(Demonstration(values, values[:, :1] + 0.5, values[:, 1:] + 0.25, np.ones(length), 1.0))
    half = len(made) // tasks
    return Episodes.build([made[:half], made[half:]], [1.0, 2.0])


@settings(deadline=None)
@given(episode=st.integers(0, 3), data=st.data(), steps=st.integers(1, 9))
def test_windows_hold_consecutive_steps_and_are_padded_on_the_left(episode, data, steps):
    start = data.draw(st.integers(0, LENGTHS[episode] - 1))
    window, labels = context_windows(episodes(), np.array([episode]), np.array([start]), steps)
    there = min(steps, LENGTHS[episode] - start)
    assert window.mask[0].tolist() == [False] * (steps - there) + [True] * there
    valid = window.mask[0]
    assert window.states[0, valid].tolist() == [[episode, start + n] for n in range(there)]
    assert window.timesteps[0, valid].tolist() == list(range(start, start + there))
    assert labels[0, valid, 0].tolist() == [start + n + 0.25 for n in range(there)]
    scale = 1.0 if episode < 2 else 2.0
    assert window.returns_to_go[0, valid, 0].tolist() == [(LENGTHS[episode] - start - n) / scale for n in range(there)]
    for values in (window.states, window.actions, window.returns_to_go, labels, window.timesteps[..., None]):
        assert not values[0, ~valid].any()


def test_the_episodes_of_one_task():
    all_of_them = episodes()
    assert all_of_them.lengths.tolist() == LENGTHS
    own = all_of_them.of_task(1)
    assert own.lengths.tolist() == own.lengths_of(np.array([0, 1])).tolist() == [7, 3]
    assert own.scales.tolist() == [2.0]
    assert own.steps[own.offsets[1]].tolist() == [3, 0, 3.5, 0.25, 3]
    assert np.shares_memory(own.steps, all_of_them.steps)


def test_statistics_leave_constant_coordinates_alone():
    statistics = Statistics.of(episodes(), np.array([2]), np.array([-2.0]), np.array([np.inf]))
    assert statistics.state_std.tolist() == [1, 2]  # of 0 to 6
    assert statistics.state_mean.tolist() == [2, 3]
    assert statistics.action_mid + statistics.action_half == 2.5  # no bound: the range seen


def test_statistics_are_those_of_all_steps_together(monkeypatch):
    rng = np.random.default_rng(0)
    made = [
        Demonstration(s, a, a, np.ones(len(s)))
        for s, a in (
            (rng.normal(100, 3, (n, 2)).astype(np.float32), rng.normal(size=(n, 1)).astype(np.float32))
            for n in LENGTHS * 3
        )
    ]
    split = np.array_split
    monkeypatch.setattr(np, "array_split", lambda members, parts: split(members, 5))  # as for many episodes
    members = np.array([0, 1, 2, 4, 5, 7, 8, 10])
    statistics = Statistics.of(Episodes.build([made], [1.0]), members, np.array([-1.0]), np.array([1.0]))
    states = np.concatenate([made[m].states for m in members]).astype(np.float64)
    assert np.allclose(statistics.state_mean, states.mean(0))
    assert np.allclose(statistics.state_std, states.std(0))


def test_rows_are_taken_and_joined():
    window, _ = context_windows(episodes(), np.array([0, 2]), np.array([0, 1]), 3)
    joined = Steps.cat([window[[1]], window[[0]]])
    assert torch.equal(joined.states, window.states.flip(0))
