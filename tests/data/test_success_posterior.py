"""A Beta distribution of each task's rate of success that forgets, as in MoPPS."""

import pytest

from pdt_lightning.data.success_posterior import SuccessPosterior


def test_what_was_known_counts_half_with_every_epoch_and_returns_to_the_prior():
    posterior = SuccessPosterior(2)
    assert posterior.rates().tolist() == [0.5, 0.5]
    posterior.learn([4.0, 1.0], 4)
    assert (posterior.won, posterior.lost) == ([5.0, 2.0], [1.0, 4.0])  # 1/2 + 1/2 + successes, 1/2 + 1/2 + failures
    posterior.learn([0.0, 0.5], 2)
    assert (posterior.won, posterior.lost) == ([3.0, 2.0], [3.0, 4.0])  # 5/2 + 1/2, 2/2 + 1/2 + 1/2; and so on
    assert posterior.rates() == pytest.approx([1 / 2, 1 / 3])
    assert posterior.nearness() == pytest.approx([1, 2 / 3])
    for _ in range(60):
        posterior.learn([0.0, 0.0], 0)
    assert posterior.won + posterior.lost == pytest.approx([1.0] * 4)


def test_it_goes_on_from_what_it_saved():
    one, other = SuccessPosterior(3), SuccessPosterior(3)
    one.learn([1.0, 0.3, 2.0], 4)
    other.load_state_dict(one.state_dict())
    for posterior in (one, other):
        posterior.learn([2.0, 0.1, 4.0], 4)
    assert one.state_dict() == other.state_dict()
