#!/usr/bin/env bash
# gymnasium 1.4.0: `make_vec` takes CartPole's own vector environment unless told otherwise. That one refuses a list of
# seeds, and from one seed it begins other episodes than the same environments stepped one by one: only one number of all
# initial states is the same. An episode there belongs to the whole batch, and not to a seed of its own.
# Seen with gymnasium 1.4.0, cart positions from seed 0:
#   by default [0.0137, -0.023, -0.0459], one by one [0.0137, 0.0012, -0.0238]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0" "numpy==2.3.5"
"$folder/venv/bin/python" - <<'EOF'
import gymnasium
import numpy as np

default = gymnasium.make_vec("CartPole-v1", num_envs=3)
single = gymnasium.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync")
print("by default:", type(default).__name__, "| asked for:", type(single).__name__)
whole, apart = default.reset(seed=0)[0], single.reset(seed=0)[0]
print("from seed 0, by default:", np.round(whole[:, 0], 4).tolist())
print("from seed 0, one by one:", np.round(apart[:, 0], 4).tolist())
alone = gymnasium.make("CartPole-v1").reset(seed=1)[0]
print("the second of these is seed 1 of a single environment:", bool((apart[1] == alone).all()))
try:
    default.reset(seed=[0, 1, 2])
    refused = "taken"
except gymnasium.error.Error as error:
    refused = str(error)
print("a list of seeds:", refused)
assert type(default).__name__ == "CartPoleVectorEnv"
assert (apart[1] == alone).all()
assert (whole == apart).sum() == 1
assert refused == "Seed must be a python integer, actual type: <class 'list'>"
EOF
