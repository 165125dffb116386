"""The scripts of `benchmarks/faults` run, at small size."""

from benchmarks.faults import rollouts


def test_tuning_with_a_simulator_that_goes_wrong_ends_as_with_a_clean_one(point_data, monkeypatch, capsys):
    monkeypatch.setattr(rollouts, "SHARES", {"raises": 0.1, "nan": 0.1})  # of this process, in which all is played
    assert rollouts.main(["--episodes=1", "--workers=0", "--width=8", "--parallel=4"])
    assert "recommended prompts equal: True; all outcomes equal: True" in capsys.readouterr().out
