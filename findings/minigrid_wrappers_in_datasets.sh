#!/usr/bin/env bash
# MiniGrid's own observation wrappers take no part in Gymnasium's recording of constructor arguments. Their specification
# is nevertheless written as JSON without a word, so that Minari stores a dataset of a wrapped environment; only whoever
# loads the dataset later and asks for its environment learns that it cannot be built again. Gymnasium's own wrapper,
# FilterObservation, comes back.
# Seen with minigrid 3.2.0, minari 0.5.4 and gymnasium 1.4.0:
#   FlatObsWrapper: stored with 1 episode; recover_environment: ValueError: FlatObsWrapper wrapper does not inherit from ...
#   FilterObservation: stored with 1 episode; recover_environment: <FilterObservation...>
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check minigrid==3.2.0 'minari[hdf5]==0.5.4' gymnasium==1.4.0 pillow
export MINARI_DATASETS_PATH="$folder/datasets"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import gymnasium
import minari
import minigrid  # noqa: F401  # registers its environments
import numpy as np
from gymnasium.wrappers import FilterObservation
from minari.data_collector import EpisodeBuffer
from minigrid.wrappers import FlatObsWrapper

print({name: version(name) for name in ("minigrid", "minari", "gymnasium")})


def stored_and_recovered(name, env):
    """An episode of three steps, stored as a dataset, and what comes of asking the dataset for its environment."""
    first, _ = env.reset(seed=0)
    seen, actions, rewards, ends = [first], [], [], []
    for _ in range(3):
        actions.append(2)
        observation, reward, terminated, _, _ = env.step(2)
        seen.append(observation)
        rewards.append(float(reward))
        ends.append(terminated)
    flat = seen if not isinstance(first, dict) else {key: np.stack([one[key] for one in seen]) for key in first}
    buffer = EpisodeBuffer(
        id=0,
        seed=0,
        observations=flat if isinstance(flat, dict) else np.stack(flat),
        actions=np.array(actions),
        rewards=rewards,
        terminations=ends,
        truncations=[False, False, True],
    )
    minari.create_dataset_from_buffers(f"seen/{name}-v0", [buffer], env=env)
    dataset = minari.load_dataset(f"seen/{name}-v0")
    try:
        recovered = type(dataset.recover_environment()).__name__
    except ValueError as error:
        recovered = f"ValueError: {error}"
    print(f"{type(env).__name__}: stored with {dataset.total_episodes} episode; recover_environment: {recovered}")
    return recovered


wrapped = stored_and_recovered("flat", FlatObsWrapper(gymnasium.make("MiniGrid-Empty-5x5-v0")))
filtered = stored_and_recovered("direction", FilterObservation(gymnasium.make("MiniGrid-Empty-5x5-v0"), ["direction"]))
assert wrapped.startswith("ValueError: FlatObsWrapper wrapper does not inherit from"), "it comes back now"
assert filtered == "FilterObservation"
PYTHON
