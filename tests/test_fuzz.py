"""A few hostile inputs of each kind; `python -m tests.fuzz` tries many."""

import pytest

from tests.fuzz import KINDS, fault


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_input_ends_in_a_message_or_in_what_it_asks_for(point_data, kind):
    faults = [fault(kind, seed) for seed in range(5 if kind == "configurations" else 20)]
    assert [one for one in faults if one] == []
