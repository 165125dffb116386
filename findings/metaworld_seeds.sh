#!/usr/bin/env bash
# An environment of Meta-World whose task was set, as its benchmarks ML1 and ML10 ask for, takes no notice of the seed
# that it is reset with: `reset(seed=0)` and `reset(seed=1)` begin alike to the bit, and 20 episodes of a deterministic
# policy are one episode 20 times. A mean over them has no spread, and an interval over them is worth nothing.
# Seen with metaworld 3.1.1, gymnasium 1.4.0 and mujoco 3.3.0:
#   20 seeds: 1 first observation; 20 episodes of the scripted policy: 1 return
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check metaworld==3.1.1 'gymnasium[mujoco]==1.4.0' mujoco==3.3.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import metaworld
from metaworld.policies import SawyerReachV3Policy

print({name: version(name) for name in ("metaworld", "gymnasium", "mujoco")})
benchmark = metaworld.ML1("reach-v3", seed=1)
env = benchmark.train_classes["reach-v3"]()
env.set_task(benchmark.train_tasks[0])
policy, beginnings, returns = SawyerReachV3Policy(), set(), set()
for seed in range(20):
    observation, _ = env.reset(seed=seed)
    beginnings.add(observation.tobytes())
    total = 0.0
    for _ in range(50):
        observation, reward, *_ = env.step(policy.get_action(observation))
        total += float(reward)
    returns.add(total)
print(f"20 seeds: {len(beginnings)} first observation; 20 episodes of the scripted policy: {len(returns)} return")
assert len(beginnings) == 1, "seeds are heard now"
PYTHON
