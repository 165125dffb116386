"""The family with a known optimum, 10, is solved.

It is pretrained at less than a third of its configuration's length, then tuned.
"""

import json

from tests.processes import command


def test_the_bandit_solves_the_point_family(tmp_path):
    flags = [
        "--trainer.max_epochs=2",
        "--data.updates_per_epoch=600",
        "--tuning.oracle_candidates=0",
        "--tuning.verdict_episodes=100",
    ]
    command("fit", "--config", "conf/point.yaml", *flags, f"--trainer.default_root_dir={tmp_path}", limit=400)
    summary = json.loads((tmp_path / "point" / "version_0" / "summary.json").read_text())["aggregate"]
    assert summary["expert"]["return"] == 10.0
    assert summary["tuned"]["return"] > 8.0
    assert summary["tuned"]["return"] > summary["untuned"]["high"] + 1.0
