#!/usr/bin/env bash
# Stable-Baselines3 makes a folder of its own among the temporary files each time that `learn` sets up its logger,
# also with verbose=0 and nothing to log: it stays behind, empty.
# Seen with stable-baselines3 2.9.2:
#   3 x learn: 3 folders left, with 0 files in them
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu 2>/dev/null ||
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check stable-baselines3==2.9.2
mkdir "$folder/temporary"
TMPDIR="$folder/temporary" "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import os
import tempfile
from importlib.metadata import version

from stable_baselines3 import PPO

print("stable-baselines3", version("stable-baselines3"))
for _ in range(3):
    PPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16, verbose=0, device="cpu").learn(16)
root = tempfile.gettempdir()
left = [name for name in os.listdir(root) if name.startswith("SB3-")]
files = sum(len(os.listdir(os.path.join(root, name))) for name in left)
print(f"3 x learn: {len(left)} folders left, with {files} files in them")
assert (len(left), files) == (3, 0), "it has changed"
PYTHON
