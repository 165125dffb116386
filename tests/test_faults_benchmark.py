"""The scripts of `benchmarks/faults` run, at small size."""

import re

from benchmarks.faults import kills, rollouts


def test_tuning_with_a_simulator_that_goes_wrong_ends_as_with_a_clean_one(point_data, monkeypatch, capsys):
    monkeypatch.setattr(rollouts, "SHARES", {"raises": 0.1, "nan": 0.1})  # of this process, in which all is played
    assert rollouts.main(["--episodes=1", "--workers=0", "--width=8", "--parallel=4"])
    assert "recommended prompts equal: True; all outcomes equal: True" in capsys.readouterr().out


def test_a_run_that_is_killed_and_one_of_whose_ranks_is_ends_as_if_it_had_not_been(point_data, capsys):
    assert kills.main(["--runs=1", "--ranks=2", "--seed=3"])
    assert re.search(r"[1-9] killed, [1-9] one rank alone", capsys.readouterr().out)
