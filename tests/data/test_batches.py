import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdt_lightning.data.batches import Pool
from pdt_lightning.data.task_sampling import balanced_tasks
from tests.data.test_windows import episodes


def pool(lengths, members=None, sampling="uniform"):
    made = episodes(lengths)
    return Pool(made, np.arange(len(made)) if members is None else np.array(members), 3, sampling)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**31), without=st.integers(0, 3))
def test_prompts_come_from_the_task_and_never_from_the_windows_own_episode(seed, without):
    drawn = pool([4, 5, 7, 3])
    task = 0 if without < 2 else 1
    u = np.random.default_rng(seed).random((20, 2))
    prompt = drawn.prompts(u, np.full(20, task), np.full(20, without))
    other = {0: 1, 1: 0, 2: 3, 3: 2}[without]
    assert set(prompt.states[..., 0].flatten().tolist()) == {other}
    assert prompt.mask.all()


def test_a_task_with_one_demonstration_prompts_from_it():
    drawn = pool([4, 5, 7])  # the first task has one episode
    prompt = drawn.prompts(np.array([[0.0], [0.99]]), np.zeros(2, int), np.zeros(2, int))
    assert prompt.states[..., 0].unique().tolist() == [0]
    last = pool([4, 5, 2, 7], [0, 1, 3])
    assert last.prompts(np.array([[0.99]]), np.array([1]), np.array([3])).states[..., 0].unique().tolist() == [3]


def test_prompts_are_uniform_over_all_windows():
    drawn = pool([4, 5, 7, 3])
    u = (np.arange(6000) + 0.5)[:, None] / 6000
    prompt = drawn.prompts(u, np.ones(6000, int))
    starts = prompt.states[:, 0].numpy()
    counts = {tuple(key): int((starts == key).all(1).sum()) for key in np.unique(starts, axis=0)}
    assert counts == {(2, 0): 1000, (2, 1): 1000, (2, 2): 1000, (2, 3): 1000, (2, 4): 1000, (3, 0): 1000}


def test_tail_prompts_are_those_of_the_public_code():
    prompt = pool([4, 5, 7, 3], sampling="tail").prompts(np.array([[0.1], [0.9]]), np.array([1, 1]))
    assert prompt.timesteps.tolist() == [[3, 4, 5], [0, 1, 2]]


def test_contexts_are_drawn_by_length():
    drawn = pool([4, 5, 7, 3])
    episode, start = drawn.contexts((np.arange(10) + 0.5) / 10, np.ones(10, int))
    assert episode.tolist() == [2] * 7 + [3] * 3
    assert start.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2]


def test_tasks_are_balanced_exactly_and_do_not_depend_on_how_they_are_cut():
    whole = balanced_tasks(1, 0, 700, 7)
    assert np.bincount(whole).tolist() == [100] * 7
    assert np.array_equal(np.concatenate([balanced_tasks(1, n, 10, 7) for n in range(0, 700, 10)]), whole)
    assert sorted(whole[:7].tolist()) == list(range(7))


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_ranks_share_out_one_global_batch(point_data, world_size):
    whole = point_data.batch(11)
    parts = [point_data.batch(11, rank, world_size) for rank in range(world_size)]
    assert [t for part in parts for t in part.task] == whole.task
    assert sum(part.steps for part in parts) == pytest.approx(whole.steps)
    assert whole.steps == float(whole.context.mask.sum())
    joined = type(whole.context).cat([part.context for part in parts])
    assert (joined.states == whole.context.states).all()
    assert (type(whole.prompt).cat([part.prompt for part in parts]).states == whole.prompt.states).all()


def test_batches_differ_between_updates_and_repeat_by_seed(point_data):
    assert (point_data.batch(3).context.states == point_data.batch(3).context.states).all()
    assert not (point_data.batch(3).context.states == point_data.batch(4).context.states).all()


@pytest.mark.parametrize(("within", "starts"), [(7, [0]), (3, [0, 1, 2, 3, 4]), (99, [0])])
def test_chunks_begin_early_enough_to_be_full(within, starts):
    episode, start = pool([4, 5, 7]).contexts((np.arange(120) + 0.5) / 120, np.ones(120, int), within)
    assert np.unique(start[episode == 2]).tolist() == starts
    assert np.bincount(episode).tolist() == [0, 50, 70]  # still by length
