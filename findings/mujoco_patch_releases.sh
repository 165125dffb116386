#!/usr/bin/env bash
# Two patch releases of MuJoCo, 3.3.0 and 3.3.7, play the same episode differently: the same Gymnasium, seed and actions
# differ in the last bits from the first step of half-cheetah on, and by centimetres after 300. A dataset whose states are
# to be repeated from its actions has to keep MuJoCo's version down to the last number.
# Seen with gymnasium 1.4.0 and numpy 2.4.6:
#   first step that differs: 0
#   after 300 steps the positions differ by up to 0.073
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for release in 3.3.0 3.3.7; do
  python3 -m venv "$folder/$release"
  "$folder/$release/bin/pip" install --quiet --disable-pip-version-check 'gymnasium[mujoco]==1.4.0' "mujoco==$release" numpy==2.4.6
  "$folder/$release/bin/python" -W ignore - "$folder/$release.npy" <<'PYTHON'
import sys

import gymnasium
import numpy as np

env = gymnasium.make("HalfCheetah-v5").unwrapped
env.reset(seed=0)
states = []
for action in np.random.default_rng(0).uniform(-1, 1, (300, 6)):
    env.step(action)
    states.append(np.concatenate([env.data.qpos, env.data.qvel]))
np.save(sys.argv[1], np.array(states))
PYTHON
done
"$folder/3.3.0/bin/python" - "$folder/3.3.0.npy" "$folder/3.3.7.npy" <<'PYTHON'
import sys

import numpy as np

first, second = (np.load(path) for path in sys.argv[1:])
apart = np.flatnonzero((first != second).any(axis=1))
print("first step that differs:", apart[0] if len(apart) else None)
difference = np.abs(first - second)[-1, :9].max()
print(f"after 300 steps the positions differ by up to {difference:.2g}")
assert len(apart) and difference > 1e-3, "they agree now"
PYTHON
