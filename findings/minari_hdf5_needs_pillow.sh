#!/usr/bin/env bash
# Minari's storage of HDF5, the default, imports pillow whatever is stored, and the extra `hdf5` does not bring it: with
# just what that installs not even a dataset of numbers can be written or loaded. The name of the extra that would help,
# `create`, is said only where jax is missing.
# Seen with minari 0.5.4 and gymnasium 1.4.0:
#   as installed: ModuleNotFoundError: No module named 'PIL'
#   with pillow: 1 episode
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'minari[hdf5]==0.5.4' gymnasium==1.4.0
cat > "$folder/write.py" <<'PYTHON'
import gymnasium
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer

env = gymnasium.make("CartPole-v1")
first, _ = env.reset(seed=0)
second, reward, *_ = env.step(0)
episode = EpisodeBuffer(
    id=0,
    seed=0,
    observations=np.stack([first, second]),
    actions=np.array([0]),
    rewards=[float(reward)],
    terminations=[False],
    truncations=[True],
)
print(minari.create_dataset_from_buffers("seen/cartpole-v0", [episode], env=env).total_episodes, "episode")
PYTHON
write() { MINARI_DATASETS_PATH="$folder/$1" "$folder/venv/bin/python" -W ignore "$folder/write.py" 2>&1 | tail -n 1 || true; }
alone=$(write one)
echo "as installed: $alone"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow
with=$(write two)
echo "with pillow: $with"
[[ $alone == "ModuleNotFoundError: No module named 'PIL'" && $with == "1 episode" ]] || { echo "it has changed"; exit 1; }
