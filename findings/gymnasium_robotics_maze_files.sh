#!/usr/bin/env bash
# Every maze environment of Gymnasium-Robotics writes its map as an XML file into the folder for temporary files and
# leaves it there, also after `close`: whoever builds environments by the thousand, as workers of a rollout do, fills
# the disk's inodes.
# Seen with gymnasium-robotics 1.4.2, gymnasium 1.4.0 and mujoco 3.3.0:
#   5 x make and close: 5 files left, such as ant_maze1796044313.2633188.xml
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gymnasium-robotics==1.4.2 gymnasium==1.4.0 mujoco==3.3.0
mkdir "$folder/temporary"
TMPDIR="$folder/temporary" "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import os
import tempfile
from importlib.metadata import version

import gymnasium
import gymnasium_robotics

print({name: version(name) for name in ("gymnasium-robotics", "gymnasium", "mujoco")})
gymnasium.register_envs(gymnasium_robotics)
before = set(os.listdir(tempfile.gettempdir()))
for _ in range(5):
    env = gymnasium.make("PointMaze_UMaze-v3")
    env.reset(seed=0)
    env.close()
del env
left = sorted(name for name in set(os.listdir(tempfile.gettempdir())) - before if name.endswith(".xml"))
print(f"5 x make and close: {len(left)} files left, such as {left[0] if left else None}")
assert len(left) == 5, "they are removed now"
PYTHON
