"""Outcomes come back from the journal for exactly the rows, weights and widths that they were played with."""

import contextlib

import numpy as np
import pytest
import torch

from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Row
from pdt_lightning.tuning.journal import Journal, forget
from tests.conftest import untrained


@pytest.fixture
def rows(point_data):
    task, segments = point_data.heldout_tasks[0], point_data.segments("point/03")
    return [Row(task, segments.gather(np.array([[n, n + 1]])), n) for n in range(5)]


def outcome(row):
    return Outcome(0.1 * row.seed + 1e-17, None if row.seed == 3 else 1.0, 20, "it broke" if row.seed == 3 else None)


class Player:
    """Plays through a journal; leaves it closed."""

    def __init__(self, *journal):
        self.arguments = journal
        self.played, self.known = [], 0

    def __call__(self, rows):
        with contextlib.closing(Journal(*self.arguments)) as self.journal:
            return self.journal.replay(self._play, self._count)(rows)

    def _play(self, rows):
        self.played += [row.seed for row in rows]
        outcomes = [outcome(row) for row in rows]
        self.journal.add(rows, outcomes)
        return outcomes

    def _count(self, known):
        self.known += known


def test_what_is_known_is_not_played_again(tmp_path, point_module, rows):
    policy = Policy(point_module.model, 5)
    first = Player(tmp_path / "0_rank_0.jsonl", policy, 8)
    first(rows[1:4])
    second = Player(tmp_path / "0_rank_1.jsonl", policy, 8)  # another rank finds it too
    assert second(rows) == [outcome(row) for row in rows]
    assert (second.played, second.known) == ([0, 4], 3)


def test_other_weights_width_precision_prompt_or_seed_are_played(tmp_path, point_data, point_module, rows):
    policy = Policy(point_module.model, 5)
    first = Player(tmp_path / "0_rank_0.jsonl", policy, 8)
    first(rows[:1])
    other = untrained(point_data)
    with torch.no_grad():
        other.model.head.bias += 1e-3
    for n, (own, width) in enumerate(
        [
            (Policy(other.model, 5), 8),
            (policy, 4),
            (Policy(point_module.model, 5, "bf16-true"), 8),
            (Policy(point_module.model, 5, prompt_tokens=3), 8),
        ]
    ):
        player = Player(tmp_path / f"0_rank_{n + 1}.jsonl", own, width)
        player(rows[:1])
        assert player.played == [0]
    player = Player(tmp_path / "0_rank_9.jsonl", policy, 8)
    player([Row(rows[0].task, rows[1].prompt, 0), Row(rows[0].task, rows[0].prompt, 1)])
    assert player.played == [0, 1]


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path, point_module, rows):
    policy, path = Policy(point_module.model, 5), tmp_path / "0_rank_0.jsonl"
    first = Player(path, policy, 8)
    first(rows[:3])
    path.write_bytes(path.read_bytes()[:-20])
    second = Player(path, policy, 8)
    second(rows)
    assert second.played == [2, 3, 4]
    third = Player(path, policy, 8)
    third(rows)
    assert (third.played, third.known) == ([], 5)


def test_only_journals_of_earlier_phases_are_forgotten(tmp_path):
    for name in ("0_rank_0.jsonl", "1_rank_0.jsonl", "1_rank_11.jsonl", "2_rank_0.jsonl"):
        (tmp_path / "journal").mkdir(exist_ok=True)
        (tmp_path / "journal" / name).touch()
    forget(tmp_path / "journal", 2)
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["2_rank_0.jsonl"]
    forget(tmp_path / "journal", 3)
    assert not (tmp_path / "journal").exists()
    forget(tmp_path / "journal", 3)
