import numpy as np
import pytest
from scipy import stats

from pdt_lightning.results.regret import cumulative_regret, simple_regret
from pdt_lightning.results.statistics import (
    hierarchical_interval,
    holm,
    improvement_interval,
    interquartile_interval,
    mean_interval,
    p_value,
    performance_profile,
    proportion_interval,
)


def ends(interval):
    return interval.low, interval.high


def test_successes_of_one_prompt_have_wilsons_interval():
    for won, played in ((25, 25), (0, 25), (17, 25), (99, 100)):
        wilson = stats.binomtest(won, played).proportion_ci(method="wilson")
        found = proportion_interval([[1.0] * won + [0.0] * (played - won)])
        assert found.value == won / played
        assert ends(found) == pytest.approx((wilson.low, wilson.high))
    exact = stats.binomtest(25, 25).proportion_ci(method="exact")
    assert proportion_interval([[1.0] * 25]).low == pytest.approx(exact.low, abs=0.01)  # 0.87, and 0.86


def test_all_successes_on_several_tasks_are_no_certainty():
    value, low, high = proportion_interval([[1.0] * 25] * 5)
    assert (value, high) == (1.0, pytest.approx(1.0))
    assert low == pytest.approx(125 / (125 + stats.norm.ppf(0.975) ** 2))  # as of 125 episodes together


def test_tasks_weigh_alike_however_many_episodes_they_have():
    assert mean_interval([[0.0, 1.0, 2.0, 3.0], [4.0, 6.0]]).value == 3.25
    assert proportion_interval([[0.0] * 40, [1.0] * 10]).value == 0.5


def test_returns_of_one_prompt_have_the_t_interval():
    values = [1.0, 2.5, 4.0, 9.0]
    known = stats.ttest_1samp(values, 0).confidence_interval()
    assert ends(mean_interval([values])) == pytest.approx((known.low, known.high))


def test_two_tasks_have_satterthwaites_degrees_of_freedom():
    one, two = np.array([1.0, 2.0, 4.0, 9.0]), np.array([1.0, 1.5, 1.0, 3.0, 2.0])
    known = stats.ttest_ind(one, -two, equal_var=False).confidence_interval()  # of their sum
    assert ends(mean_interval([one, two])) == pytest.approx((known.low / 2, known.high / 2))


def test_returns_of_two_values_are_a_proportion():
    won = [[10.0] * 20 + [-10.0] * 5, [10.0] * 25]
    _, low, high = proportion_interval([[1.0] * 20 + [0.0] * 5, [1.0] * 25])
    assert ends(mean_interval(won)) == pytest.approx((20 * low - 10, 20 * high - 10))


def test_tasks_far_apart_make_nothing_uncertain():
    near, far = [1.0, 1.1, 1.3], [101.0, 101.1, 101.3]
    assert np.subtract(*ends(mean_interval([near, near]))) == pytest.approx(
        np.subtract(*ends(mean_interval([near, far])))
    )


def test_of_one_pretraining_seeds_vary_within_their_tasks():
    cells = np.random.default_rng(0).normal((0.0, 10.0, 20.0), size=(1, 4, 3))
    assert ends(hierarchical_interval(cells)) == pytest.approx(ends(mean_interval(list(cells[0].T))))


def test_of_several_pretrainings_each_is_one_draw():
    """Seeds and tasks that agree within a pretraining add no certainty: 3 x 5 cells are three draws."""
    means = np.array([1.0, 2.0, 4.0])
    known = stats.ttest_1samp(means, 0).confidence_interval()
    for cells in (means[:, None, None] + np.zeros((1, 5, 3)), means[:, None, None]):
        assert ends(hierarchical_interval(cells)) == pytest.approx((known.low, known.high))


def test_what_seeds_have_in_common_over_pretrainings_is_not_lost():
    """The same episodes with all pretrainings: pretrainings agree, and yet nothing is sure."""
    cells = np.zeros((3, 1, 1)) + np.random.default_rng(0).normal(size=(1, 5, 3))
    assert ends(hierarchical_interval(cells)) == pytest.approx(ends(mean_interval(list(cells[0].T))))


def test_a_paired_difference_is_surer_than_two_means():
    rng = np.random.default_rng(1)
    luck = rng.normal(0, 5, (3, 5, 3))
    ours = luck + 1 + rng.normal(0, 0.1, luck.shape)
    value, low, high = hierarchical_interval(ours - luck)
    assert 0.8 < low < value < high < 1.2
    assert hierarchical_interval(ours).low < hierarchical_interval(luck).high


def test_no_interval_is_invented():
    """Of one run, and of values that are all alike."""
    alone, alike = np.array([[[3.0, 5.0]]]), np.full((3, 5, 3), 0.1)
    for interval in (
        mean_interval([[3.0], [1.0, 2.0]]),
        mean_interval([[0.1] * 25]),
        hierarchical_interval(alone),
        hierarchical_interval(alike),
        interquartile_interval(alone),
        interquartile_interval(alike),
        improvement_interval(alone, alone - 1),
        improvement_interval(alike, alike - 1),
    ):
        assert np.isfinite(interval.value)
        assert np.isnan(ends(interval)).all()


def test_p_values_agree_with_the_intervals():
    """Of three pretrainings and several seeds they are the more careful ones."""
    rng = np.random.default_rng(2)
    for shape in ((1, 3, 5), (2, 3, 5), (3, 1, 1), (3, 5, 3)):
        for shift in (0.0, 0.3, 1.0, 3.0):
            cells = shift + rng.normal(size=shape)
            low, high = ends(hierarchical_interval(cells))
            claimed, outside = p_value(cells) < 0.05, not low <= 0 <= high
            assert claimed == outside or (shape == (3, 5, 3) and outside)
    assert np.isnan(p_value(np.ones((3, 5, 3))))
    assert p_value(np.zeros((3, 5, 3))) == 1
    assert p_value(np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1)) == pytest.approx(
        stats.ttest_1samp([1.0, 2.0, 4.0], 0).pvalue
    )


def test_holm_by_hand():
    found = holm([0.04, np.nan, 0.001, 0.02, 0.9])
    assert found[1] != found[1]
    assert [found[n] for n in (2, 3, 0, 4)] == pytest.approx([0.004, 0.06, 0.08, 0.9])
    assert holm([]) == []


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    cells = np.array([[-100.0, 1.0, 2.0, 3.0, 4.0, 5.0], [4.0, 5.0, 6.0, 7.0, 8.0, 1000.0]]).T[None]
    value, low, high = interquartile_interval(cells)
    assert value == pytest.approx((3 + 4 + 4 + 5 + 5 + 6) / 6)
    assert low < value < high
    _, mean_low, mean_high = hierarchical_interval(cells)
    assert high - low < (mean_high - mean_low) / 10


def test_probability_of_improvement_by_hand():
    """Task one: 3 of 4 pairs won, 1 tied. Task two: all lost."""
    ours, theirs = np.array([[[2.0, 0.0], [3.0, 0.0]]]), np.array([[[1.0, 1.0], [2.0, 5.0]]])
    assert improvement_interval(ours, theirs).value == pytest.approx((3.5 / 4 + 0) / 2)
    value, low, high = improvement_interval(np.array([[[1.0], [3.0], [5.0]]]), np.array([[[0.0], [2.0], [9.0]]]))
    assert value == pytest.approx(5 / 9)
    assert 0 <= low < value < high <= 1
    assert improvement_interval(ours, ours).value == 0.5


def test_a_profile_falls_from_one_to_none():
    value, low, high = performance_profile(np.arange(12.0).reshape(1, 4, 3), np.array([-1.0, 5.5, 11.0]))
    assert value.tolist() == [1.0, 0.5, 0.0]
    assert np.isnan([low[0], high[0], low[2], high[2]]).all()
    assert 0 <= low[1] < 0.5 < high[1] <= 1


def test_regret_by_hand():
    assert cumulative_regret(np.array([[10.0, -10.0], [0.0, 0.0]]), 10.0).tolist() == [[0.0, 20.0], [10.0, 20.0]]
    assert simple_regret(np.array([9.0, 10.0]), 10.0).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_proportion_lies_within_its_interval_however_many_episodes_and_tasks(rate):
    for episodes in range(1, 120):
        for tasks in (1, 3, 5):
            value, low, high = proportion_interval([[rate] * episodes] * tasks)
            assert 0 <= low <= value <= high <= 1
