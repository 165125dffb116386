#!/usr/bin/env bash
# lightning 2.6.6 with fsspec 2026.9.0: a checkpoint is written into the folder for temporary files, and from there to its place. Where that is
# another disk, the last step is a copy over the checkpoint before, and no rename.
#
# Expected: `trainer.save_checkpoint` leaves the old checkpoint or the new one, whole, whenever it is stopped ("Saves a checkpoint atomically",
# says what it calls), also where /tmp is a node's own disk and runs lie on a shared one.
# Seen: with TMPDIR on the checkpoint's disk the file is renamed into its place. With TMPDIR on another one it is copied onto the old
# checkpoint, which is gone from the first byte on; a full disk, or a job that is killed meanwhile, leaves a part of the new one.
# It needs Linux, where /dev/shm is a file system of its own.
# Output seen:
#   lightning 2.6.6, fsspec 2026.9.0: with TMPDIR on the same disk renamed, on another one copied over the old file
set -euo pipefail
folder=$(mktemp -d); other=$(mktemp -d -p /dev/shm); trap 'rm -rf "$folder" "$other"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0
"$folder/venv/bin/pip" install --quiet lightning==2.6.6 fsspec==2026.9.0
cd "$folder"
mkdir same
OTHER="$other" "$folder/venv/bin/python" - <<'PYTHON'
import logging
import os
import sys
import tempfile
import warnings

import fsspec
import lightning
from lightning.pytorch.demos.boring_classes import BoringModel

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
options = {name: False for name in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")}
trainer = lightning.Trainer(max_steps=1, limit_val_batches=0, accelerator="cpu", **options)
trainer.fit(BoringModel())
place = os.path.abspath("last.ckpt")
trainer.save_checkpoint(place)  # the checkpoint before
copied = []
sys.addaudithook(lambda event, args: copied.append(args) if event == "shutil.copyfile" and args[1] == place else None)
seen = {}
for name, temporary in (("same", os.path.abspath("same")), ("other", os.environ["OTHER"])):
    copied.clear()
    tempfile.tempdir, number = temporary, os.stat(place).st_ino
    trainer.save_checkpoint(place)
    seen[name] = ("copied" if copied else "renamed", os.stat(place).st_ino == number)
words = {("renamed", False): "renamed", ("copied", True): "copied over the old file"}
same, other = (words[seen[name]] for name in ("same", "other"))
print(f"lightning {lightning.__version__}, fsspec {fsspec.__version__}: with TMPDIR on the same disk {same}, on another one {other}")
assert (same, other) == ("renamed", "copied over the old file"), seen
PYTHON
