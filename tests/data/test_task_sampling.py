"""Which tasks training draws, given how sensitive each is to its prompt."""

import copy

import numpy as np
import pytest

from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.data.task_sampling import TaskSampling, balanced_tasks, shares_of
from tests.conftest import POINT


def sampling(*weights):
    made = TaskSampling("sensitivity", len(weights), 3)
    made.follow(weights, 1)
    return made


def test_a_quarter_is_shared_out_evenly_and_the_rest_by_sensitivity():
    assert shares_of([0.3, 0.1, 0.0, 0.0]) == pytest.approx([0.625, 0.25, 0.0625, 0.0625])
    assert shares_of([0.0] * 5) == pytest.approx([0.2] * 5)


def test_every_batch_has_the_rows_of_each_share_up_to_one():
    shares = np.array([0.625, 0.25, 0.0625, 0.0625])
    counts = np.array([np.bincount(sampling(0.3, 0.1, 0, 0).draw(batch, 24), minlength=4) for batch in range(400)])
    assert (np.abs(counts - 24 * shares) < 1).all()
    assert counts.mean(axis=0) == pytest.approx(24 * shares, abs=0.1)


def test_rows_are_in_no_order_so_that_every_rank_gets_all_tasks():
    drawn = np.concatenate([sampling(0.5, 0.5).draw(batch, 8)[:4] for batch in range(200)])
    assert np.bincount(drawn) == pytest.approx([400, 400], abs=60)


def test_draws_follow_from_seed_batch_and_what_was_measured_alone():
    made = sampling(0.2, 0.4, 0.1)
    again = TaskSampling("sensitivity", 3, 3)
    again.load_state_dict(made.state_dict())
    assert [made.draw(batch, 16).tolist() for batch in (5, 6)] == [again.draw(batch, 16).tolist() for batch in (5, 6)]
    assert made.draw(5, 16).tolist() != made.draw(6, 16).tolist()
    assert again.state_dict() == made.state_dict()
    assert not again.is_due(1)
    assert again.is_due(2)


def test_the_first_epoch_is_uniform():
    made = TaskSampling("sensitivity", 7, 3)
    assert not made.is_due(0)
    assert np.array_equal(made.draw(4, 10), balanced_tasks(3, 40, 10, 7))


def test_uniform_is_as_it_was_and_leaves_nothing_in_a_checkpoint(point_data):
    assert point_data.hparams["task_sampling"] == "uniform"
    assert not point_data.task_sampling.is_due(9)
    assert point_data.batch(3).task == balanced_tasks(0, 48, 16, 13).tolist()
    assert set(point_data.state_dict()) == {"facts"}


def test_ranks_share_the_batch_that_one_would_have(point_data):
    data = copy.copy(point_data)
    data.task_sampling = TaskSampling("sensitivity", 13, 0)
    data.task_sampling.follow(np.arange(13.0), 1)
    whole = data.batch(5).task
    assert whole == data.batch(5, 0, 2).task + data.batch(5, 1, 2).task
    assert whole.count(12) >= 2
    other = MultiTaskDataModule(**POINT, task_sampling="sensitivity")
    other.load_state_dict(data.state_dict())
    assert other.task_sampling.draw(5, 16).tolist() == whole


def test_a_checkpoint_without_measurements_begins_uniformly(point_data):
    data = MultiTaskDataModule(**POINT, task_sampling="sensitivity")
    data.load_state_dict({"facts": {}})
    assert data.task_sampling.draw(0, 16).tolist() == balanced_tasks(0, 0, 16, 13).tolist()


def test_by_success_tasks_near_one_half_are_drawn_more_often_and_what_is_known_goes_on_exactly():
    made = TaskSampling("success", 3, 3)
    assert np.array_equal(made.draw(4, 10), balanced_tasks(3, 40, 10, 3))  # nothing is known yet
    made.follow_success([4.0, 2.0, 0.0], 4, 1)
    # Beta(5, 1), Beta(3, 3) and Beta(1, 5): rates of 5/6, 1/2 and 1/6, and weights of 1/3, 1 and 1/3.
    assert made.weights == pytest.approx([1 / 3, 1, 1 / 3])
    assert made.shares() == pytest.approx([1 / 12 + 0.15, 1 / 12 + 0.45, 1 / 12 + 0.15])
    again = TaskSampling("success", 3, 3)
    again.load_state_dict(made.state_dict())
    assert not again.is_due(1)
    assert again.is_due(2)
    for one in (made, again):
        one.follow_success([1.0, 0.5, 2.0], 4, 2)
    assert again.state_dict() == made.state_dict()
    assert again.draw(5, 16).tolist() == made.draw(5, 16).tolist()
