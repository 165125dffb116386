"""Does the transformer lock on to the most informative segment of its prompt, as the papers say?

python -m benchmarks.informative --ckpt_path runs/study/point_j4/S*/version_0/checkpoints/last.ckpt

On the sparse point it can be told which segments inform: those on the way from the hub to the goal, and not those of
the common trunk. Prompts have one of the former among several of the latter.
"""

import argparse

import numpy as np

from pdt_lightning.core.seeding import generator
from pdt_lightning.core.terminal import quiet
from pdt_lightning.model.attention_maps import attention_along
from pdt_lightning.model.checkpoints import load
from pdt_lightning.tasks.point import HUB, STEP_LENGTH

TRUNK = 10  # steps from the start to the hub


def informative(path: str, seed: int, prompts: int = 60) -> np.ndarray:
    """The last layer's attention, on the way from the hub, to the one segment that tells the way to the goal.

    Args:
        path: of a checkpoint of the sparse point with several segments in a prompt.
        seed: of the prompts.
        prompts: of each held-out goal.

    Returns:
        `(3,)` share of the attention to the prompt that goes to that segment, share of the prompts in which it gets
        the most, and the share of all attention that goes to the prompt.
    """
    module, data = load(path)
    data.prepare_data()
    data.setup()
    model, slots, found = module.model.eval(), data.hparams["segments"], []
    for task in data.heldout_tasks:
        segments, rng = data.segments(task.id), generator(seed, "informative", slots, task.id)
        states = segments.gather(np.arange(len(segments))[:, None]).states  # (N, H, 2)
        beyond = (states[..., 0] - float(HUB[0])).abs().add(states[..., 1].abs()).numpy() > 2 * STEP_LENGTH
        spoke = beyond.all(axis=1) & (segments.start >= TRUNK)
        trunk = segments.start + segments.steps <= TRUNK
        for number in range(prompts):
            choice, place = rng.choice(np.flatnonzero(trunk), size=slots), int(rng.integers(slots))
            choice[place] = rng.choice(np.flatnonzero(spoke))
            episode = number % len(segments.episodes)
            prompt = segments.gather(choice[None])
            along = attention_along(model, module.hparams["context_steps"], segments.episodes, episode, prompt, slots)
            last = along[-1, TRUNK:].mean(axis=0)  # from the hub on, where it has to be known
            found.append((last[place] / last.sum(), last.argmax() == place, last.sum()))
    return np.mean(np.array(found, float), axis=0)


def main() -> None:
    """Print the shares, over all checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", nargs="+", required=True)
    quiet()
    paths = parser.parse_args().ckpt_path
    share, most, whole = np.mean([informative(path, seed) for seed, path in enumerate(paths)], axis=0)
    print(f"share of the attention to the prompt that goes to the informative segment: {share:.1%}")
    print(f"prompts in which it gets the most: {most:.1%}")
    print(f"share of all attention that goes to the prompt: {whole:.1%}")


if __name__ == "__main__":
    main()
