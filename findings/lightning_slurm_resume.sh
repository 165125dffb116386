#!/usr/bin/env bash
# lightning 2.6.6: under Slurm, Trainer.fit(model) without ckpt_path goes on from hpc_ckpt_N.ckpt in default_root_dir, whichever run wrote it.
#
# Expected: a new Trainer with another model begins at update 0 unless a checkpoint is asked for.
# Seen: the second run begins at update 1 with the first run's weights, because both have the same default_root_dir. Slurm sends the signal
# (--signal=SIGUSR1@SECONDS) on which Lightning writes that file before a job is requeued; the file stays, and so does the behaviour, for
# every later run there. Way out: a default_root_dir for each run, or SLURMEnvironment(auto_requeue=False) and no such file.
# Output seen:
#   lightning 2.6.6: files left: ['hpc_ckpt_1.ckpt']
#   first run began at update 0 with its own weights: True
#   second run, of another seed and without ckpt_path, began at update 1 with its own weights: False
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0
"$folder/venv/bin/pip" install --quiet lightning==2.6.6
mkdir "$folder/bin"; printf '#!/bin/sh\n' > "$folder/bin/scontrol"; chmod +x "$folder/bin/scontrol"  # stands for the requeueing
export PATH="$folder/bin:$PATH" SLURM_JOB_ID=7 SLURM_JOB_NAME=job SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 \
  SLURM_NODELIST=localhost
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import logging
import os
import signal
import warnings

import lightning
import torch
from lightning.pytorch.demos.boring_classes import BoringModel

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Signalled(lightning.Callback):
    """Stands for Slurm, which sends the signal before a job's time is over."""

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGUSR1)


class Begin(lightning.Callback):
    def on_train_start(self, trainer, module):
        self.update, self.weight = trainer.global_step, module.layer.weight.detach().clone()


def run(seed, *callbacks):
    torch.manual_seed(seed)
    model, begin = BoringModel(), Begin()
    fresh = model.layer.weight.detach().clone()
    trainer = lightning.Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir="runs", limit_val_batches=0, callbacks=[begin, *callbacks],
    )
    trainer.fit(model)
    return begin.update, bool(torch.equal(begin.weight, fresh))


first, second = run(0, Signalled()), run(1)
print(f"lightning {lightning.__version__}: files left: {sorted(os.listdir('runs'))}")
print(f"first run began at update {first[0]} with its own weights: {first[1]}")
print(f"second run, of another seed and without ckpt_path, began at update {second[0]} with its own weights: {second[1]}")
assert first == (0, True), first
assert second == (1, False), second
PYTHON
