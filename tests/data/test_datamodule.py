import copy

import numpy as np
import pytest

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.datamodule import MultiTaskDataModule
from tests.conftest import POINT


def test_validation_episodes_are_apart_and_every_task_has_one(point_data):
    training, validation = point_data.training_pool, point_data.validation_pool
    task = training.episodes.task
    assert np.bincount(task[validation.members]).tolist() == [1] * 13
    assert np.bincount(task[training.members]).tolist() == [3] * 13
    assert not set(training.members) & set(validation.members)


def test_statistics_are_of_the_training_episodes_alone(point_data):
    pool = point_data.training_pool
    steps = np.concatenate([pool.episodes.steps[slice(*pool.episodes.offsets[e : e + 2])] for e in pool.members])
    assert np.allclose(point_data.statistics.state_mean, steps[:, :2].mean(0), atol=1e-6)
    assert np.allclose(point_data.statistics.state_std, steps[:, :2].std(0), atol=1e-6)


def test_held_out_demonstrations_are_the_second_loader(point_data):
    known, heldout = point_data.val_dataloader()
    assert sum(len(batch.task) for batch in known) == 26
    assert {t for batch in heldout for t in batch.task} == {0, 1, 2}
    assert [name for name, _ in point_data.validation_names()] == ["val", "heldout"]
    assert point_data.validation_names()[1][1] == ["point/03", "point/07", "point/11"]


@pytest.mark.parametrize(("windows", "world_size"), [(513, 2), (26, 3), (2050, 8), (13, 16)])
def test_every_rank_has_as_many_validation_batches(point_data, monkeypatch, windows, world_size):
    data = copy.copy(point_data)
    monkeypatch.setitem(data.hparams, "validation_windows", windows)
    seen, rows = set(), 0
    for rank in range(world_size):
        data._ranks = lambda rank=rank: (rank, world_size)
        sizes = [len(batch.task) for batch in data.val_dataloader()[0].dataset]
        seen.add(len(sizes))
        rows += sum(sizes)
        assert max(sizes) <= 256
    assert len(seen) == 1
    assert rows == max(windows, 13)


def test_one_candidate_demonstration_is_enough():
    data = MultiTaskDataModule(
        **{**POINT, "family_options": {**POINT["family_options"], "candidate_demonstrations": 1}}
    )
    data.prepare_data()
    data.setup()
    assert {t for batch in data.val_dataloader()[1] for t in batch.task} == {0, 1, 2}


def test_tuned_training_tasks_get_candidates(point_data):
    data = MultiTaskDataModule(**POINT, tuned_training_tasks=["point/00"])
    data.prepare_data()
    data.setup()
    assert len(data.segments("point/00")) > 10
    assert [task.id for task in data.heldout_tasks] == ["point/03", "point/07", "point/11"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "`data.batch_size`=0"),
        ({"segment_steps": 0}, "`data.segment_steps`=0"),
        ({"prompt_sampling": "head"}, "`data.prompt_sampling`=head"),
        ({"task_sampling": "reward"}, "`data.task_sampling`=reward"),
        ({"validation_share": 1.0}, "`data.validation_share`=1.0"),
        ({"attention": "local"}, "`data.attention`=local"),
        ({"chunk_steps": 12}, "`data.chunk_steps`=12 is for `model.attention`=window"),
        ({"chunk_steps": 4, "attention": "window"}, "`data.chunk_steps`=4 is less"),
        ({"tuned_training_tasks": ["point/03"]}, "point/03 is not a training task"),
    ],
)
def test_bad_options_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        MultiTaskDataModule(**{**POINT, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [({"segment_steps": 40}, "`data.segment_steps`=40"), ({"validation_share": 0.9}, "validation_share")],
)
def test_what_cannot_be_is_refused_before_anything_is_collected(change, message):
    data = MultiTaskDataModule(**{**POINT, **change})
    with pytest.raises(UserError, match=message):
        data.prepare_data()


def test_demonstrations_that_do_not_suffice_are_refused(point_data):
    data = MultiTaskDataModule(**{**POINT, "segment_steps": 29})
    data.prepare_data()
    with pytest.raises(UserError, match=r"Lower `data\.segment_steps`"):
        data.setup()
