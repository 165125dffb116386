"""Strategies that shard weights are refused by name, before anything is trained."""

import pytest
from lightning.pytorch import strategies

from pdt_lightning.core.errors import UserError
from pdt_lightning.model.strategies import fit_strategy
from tests.conftest import POINT_FLAGS
from tests.processes import command


@pytest.mark.parametrize("name", ["FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy"])
def test_a_strategy_that_shards_weights_is_refused_by_name(point_module, name):
    kind = getattr(strategies, name)
    with pytest.raises(UserError, match=f"`trainer.strategy`={name} shards the weights.*Take ddp: .* 0.0 million"):
        fit_strategy(kind.__new__(kind), point_module.model)


def test_the_command_refuses_it_too(tmp_path, point_data):
    kind = '{"class_path": "lightning.pytorch.strategies.ModelParallelStrategy"}'
    flags = [f"--trainer.strategy={kind}", "--trainer.devices=1"]
    done = command("fit", *POINT_FLAGS, *flags, f"--trainer.default_root_dir={tmp_path}", check=False)
    assert done.returncode == 2
    assert "--trainer.strategy=ModelParallelStrategy shards the weights" in done.stderr
    assert "Traceback" not in done.stderr
