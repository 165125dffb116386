#!/usr/bin/env bash
# lightning 2.6.6: with EMAWeightAveraging, what a callback sees in on_validation_epoch_end depends on its place in the list of callbacks.
#
# Expected: every callback that evaluates the model at the end of a validation sees the weights that were validated, and that
# ModelCheckpoint saves right afterwards: the average.
# Seen: a callback before EMAWeightAveraging sees the average, one behind it sees the weights of training, since EMAWeightAveraging takes its
# average back in the same hook; the checkpoint holds the average in both cases. A metric that the second one logs, and that a
# ModelCheckpoint monitors, is therefore of weights that are in no checkpoint's state_dict.
# Output seen:
#   lightning 2.6.6: a callback sees the weights that the checkpoint holds: {'before': True, 'behind': False}
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0
"$folder/venv/bin/pip" install --quiet lightning==2.6.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import logging
import warnings

import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Sees(lightning.Callback):
    def __init__(self, name):
        self.name = name

    @property
    def state_key(self):
        return self.name

    def on_validation_epoch_end(self, trainer, module):
        self.weight = module.layer.weight.detach().clone()


torch.manual_seed(0)
before, behind = Sees("before"), Sees("behind")
last = ModelCheckpoint("checkpoints", "last", save_on_train_epoch_end=False)
trainer = lightning.Trainer(
    max_epochs=1, limit_train_batches=4, limit_val_batches=1, num_sanity_val_steps=0, accelerator="cpu", logger=False,
    enable_progress_bar=False, enable_model_summary=False, callbacks=[before, EMAWeightAveraging(decay=0.5), behind, last],
)
trainer.fit(BoringModel())
saved = torch.load(last.best_model_path, weights_only=True)["state_dict"]["layer.weight"]
seen = {one.name: bool(torch.equal(one.weight, saved)) for one in (before, behind)}
print(f"lightning {lightning.__version__}: a callback sees the weights that the checkpoint holds: {seen}")
assert seen == {"before": True, "behind": False}, seen
PYTHON
