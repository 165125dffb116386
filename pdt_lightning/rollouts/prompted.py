"""Using a result: a checkpoint and a saved prompt as a policy for Gymnasium's loop."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space

from pdt_lightning.core.errors import NotFoundError, UserError
from pdt_lightning.data.segments import Prompt
from pdt_lightning.model.actions import DiscreteActions
from pdt_lightning.model.checkpoints import load_module, results_of
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tasks.actions import as_action, choices_of
from pdt_lightning.tasks.spaces import flatten, from_gymnasium, from_text

Observation = Any  # of the environment's space: an array, a number, or a mapping or tuple of such


class PromptedPolicy:
    """Acts in one environment, or in the rows of a vector environment, with one prompt.

    ```python
    policy = pdt_lightning.load("last.ckpt", prompt="prompts/point/03.safetensors")
    env = gymnasium.make(policy.environment)
    observation, info = env.reset(seed=0)
    policy.reset()
    reward, over = None, False
    while not over:
        observation, reward, terminated, truncated, info = env.step(policy.act(observation, reward))
        over = terminated or truncated
    ```

    In a vector environment all rows start together, after `reset`, and the policy counts their steps together.
    Gymnasium begins a row whose episode has ended anew, in its next step; the policy goes on with the old one, and what
    it does there means nothing. Leave such rows out of what you count, and call `reset` here and on the environment
    when all have ended. Rows do not disturb each other.

    Args:
        policy: a frozen model.
        prompt: one prompt.
        facts: as `Task.facts` gives them; `target_return` and `return_scale` have to be there.

    Attributes:
        environment: specification of the task's environment, for `gymnasium.make` and `make_vec`; it ends episodes
            where rollouts end them. None where it is not known.
        facts: what is known of the task.
    """

    def __init__(self, policy: Policy, prompt: Prompt, facts: Mapping[str, Any]):
        self.policy, self.prompt, self.facts = policy, prompt, dict(facts)
        self.environment = EnvSpec.from_json(facts["environment"]) if facts.get("environment") else None
        self._actions = _action_space(facts, policy.model)
        self._observations = _observation_space(facts)
        self._flattened = None if self._observations is None else from_gymnasium(self._observations)
        # () for one environment, (B,) for a vector of them; None before the first step.
        self._rows: tuple[int, ...] | None = None
        self._ready = False

    def reset(self) -> None:
        """Begin an episode, in all rows: the past is forgotten."""
        self._rows, self._ready = None, True

    def act(self, observation: Observation, reward: float | np.ndarray | None = None) -> np.ndarray:
        """The action for the next step.

        Args:
            observation: `(S,)`, or `(B, S)` of a vector environment, as the environment gives it; a Dict is flattened
                as it was for training.
            reward: what the last step brought, a number or `(B,)`; not looked at in the first step of an episode.

        Returns:
            `(A,)` or `(B, A)`, within the task's action box and in its type; of actions of other spaces, one as the
            space has it, such as a number, or `B` of them.

        Raises:
            gymnasium.error.ResetNeeded: before the first `reset`.
            ValueError: if observation or reward are not of the right size, or not finite.
        """
        if not self._ready:
            raise ResetNeeded("act() was called before reset(): call reset() at the start of each episode.")
        states = self._flatten(observation)
        rows, rewards = states.shape[:-1], None
        states = states.reshape(-1, states.shape[-1])
        if self._rows is not None:
            if rows != self._rows:
                raise ValueError(
                    f"act() was given observations of shape {(*rows, states.shape[-1])} in an episode that began with "
                    f"{(*self._rows, states.shape[-1])}. Call reset() first when the number of environments changes."
                )
            if reward is None:
                raise ValueError("act() needs the reward of the last step too: act(observation, reward).")
            rewards = np.asarray(reward, np.float64)
            if rewards.size != len(states):
                raise ValueError(f"act() was given {rewards.size} rewards for {len(states)} observations.")
            rewards = rewards.reshape(-1)
        if not np.isfinite(states).all() or not (rewards is None or np.isfinite(rewards).all()):
            raise ValueError("act() was given an observation or a reward that is not finite.")
        if self._rows is None:
            self._rows = rows
            prompts = self.prompt[torch.zeros(len(states), dtype=torch.int64)]
            target, scale = (np.full(len(states), self.facts[name]) for name in ("target_return", "return_scale"))
            self.policy.reset(prompts, target, scale)
        vectors = self.policy.act(states, rewards)
        return as_action(vectors.reshape(*rows, vectors.shape[-1]), self._actions)

    def _flatten(self, observation: Observation) -> np.ndarray:
        """`(S,)` or `(B, S)`."""
        size, space = self.policy.model.state_mean.numel(), self._observations
        if isinstance(observation, Mapping):
            parts = None if not isinstance(space, Dict) else set(space.spaces)
            if parts is None or parts != set(observation):
                known = "is no Dict" if parts is None else f"has the parts {', '.join(sorted(parts))}"
                raise ValueError(
                    f"act() was given an observation with the parts {', '.join(map(str, observation))}, but the task's "
                    f"{known}. Flatten it: gymnasium.wrappers.FlattenObservation."
                )
        if space is None:
            flat = np.asarray(observation)
        elif _flattened_already(observation, space, size):
            flat = observation[..., self._flattened]
        else:
            flat = flatten(observation, space)
        flat = flat.astype(np.float64)
        if flat.ndim not in (1, 2) or flat.shape[-1] != size:
            raise ValueError(
                f"act() was given an observation of shape {flat.shape}, but the model knows ({size},), or (B, {size}) "
                f"of a vector environment. Is this the environment of {self.facts.get('task') or 'the task'}?"
            )
        return flat


def _flattened_already(observation: Observation, space: Space, size: int) -> bool:
    """Whether an observation comes out of Gymnasium's FlattenObservation; what the space itself may have does not."""
    if not isinstance(observation, np.ndarray) or observation.ndim not in (1, 2) or observation.shape[-1] != size:
        return False
    own = space.shape  # None of a Dict or a Tuple
    return own is None or observation.ndim == len(own) + 2 or observation.shape[observation.ndim - len(own) :] != own


def _action_space(facts: Mapping[str, Any], model: PromptDecisionTransformer) -> Space:
    """The space of the task's actions, as far as it is known."""
    if facts.get("action_space"):
        return from_text(facts["action_space"])
    if isinstance(model.actions, DiscreteActions):  # without facts: numbers from 0
        options = model.actions.options
        return MultiDiscrete(options) if len(options) > 1 else Discrete(options[0])
    bounds = (np.asarray(facts.get(name, bound)) for name, bound in (("action_low", -np.inf), ("action_high", np.inf)))
    kind = np.dtype(facts.get("action_dtype", "float32"))
    low, high = (np.broadcast_to(bound, model.action_mid.shape).astype(kind) for bound in bounds)
    return Box(low, high, low.shape, kind)


def _observation_space(facts: Mapping[str, Any]) -> Space | None:
    """The space of the task's observations; None: a Box of one dimension, or not known."""
    if facts.get("observation_space"):
        return from_text(facts["observation_space"])
    if facts.get("observation"):  # as versions before 0.2 kept it
        return Dict([(key, Box(-np.inf, np.inf, tuple(shape))) for key, shape in facts["observation"].items()])
    return None


def load(
    checkpoint: Path | str,
    prompt: Path | str | Prompt | None = None,
    target_return: float | None = None,
    return_scale: float | None = None,
) -> PromptedPolicy:
    """A policy from a checkpoint and a prompt.

    Args:
        checkpoint: of a run, such as `runs/point/version_0/checkpoints/last.ckpt`; a folder that
            `pdt_lightning.export` wrote; or the name of an installed pretrained model, such as `half_cheetah_vel`.
        prompt: a saved prompt, such as `runs/point/version_0/prompts/point/03.safetensors`; the id of a task whose
            prompt lies with the checkpoint, such as `point/03`; or a `Prompt`. None only for a model that was trained
            without prompts.
        target_return: return to ask for, in the environment's unit; None: the one kept with the prompt.
        return_scale: of the task, by which the model was trained to divide returns; None: the one kept with the prompt.

    Returns:
        A policy that runs on the CPU and starts with `reset()`.

    Raises:
        NotFoundError: if there is no such checkpoint or prompt.
        UserError: if they are none of this package's, or do not go together, or something is missing.
    """
    module = load_module(checkpoint, "checkpoint")
    model = module.model.eval().requires_grad_(False)
    choices = tuple(module.hparams["action_choices"] or ())
    facts: dict[str, Any] = {}
    if isinstance(prompt, Path | str):
        prompt, facts = Prompt.load_with_facts(_prompt_file(checkpoint, prompt))
    if prompt is None:
        if model.use_prompt:
            raise UserError(f"{checkpoint} needs a prompt: give prompt=, {_prompts_there(checkpoint)}.")
        prompt = no_prompt(model.state_mean.numel(), model.action_mid.numel())
    if len(prompt) != 1:
        raise UserError(f"prompt holds {len(prompt)} prompts: give one of them, such as prompt[[0]].")
    for name, given, known in (
        ("observations", prompt.states.shape[-1], model.state_mean.numel()),
        ("actions", prompt.actions.shape[-1], model.action_mid.numel()),
    ):
        if given != known:
            raise UserError(
                f"the prompt has {name} of size {given}, but {checkpoint} knows {known}: they are of different runs."
            )
    if facts.get("action_space") and choices_of(from_text(facts["action_space"])) != choices:
        raise UserError(
            f"the prompt is of a task with actions of {from_text(facts['action_space'])}, but {checkpoint} knows "
            f"choices of {list(choices)} options: they are of different runs."
        )
    overridden = {"target_return": target_return, "return_scale": return_scale}
    facts |= {name: value for name, value in overridden.items() if value is not None}
    if model.embed_context.return_to_go is None:  # never looked at
        facts = {"target_return": 0.0, "return_scale": 1.0, **facts}
    for name in overridden:
        if facts.get(name) is None:
            raise UserError(f"the prompt does not say the task's {name.replace('_', ' ')}: give {name}=.")
    if facts["return_scale"] <= 0:
        raise UserError(f"return_scale={facts['return_scale']}: it has to be positive.")
    return PromptedPolicy(Policy(model, int(module.hparams["context_steps"])), prompt, facts)


def _prompt_file(checkpoint: Path | str, prompt: Path | str) -> Path:
    """The file of a prompt that was named by its path, or by its task where it lies with the checkpoint."""
    of_task = results_of(checkpoint) / "prompts" / f"{prompt}.safetensors"
    for path in (Path(prompt), of_task):
        if path.is_file():
            return path
    raise NotFoundError(f"prompt={prompt}: there is no such file. Give {_prompts_there(checkpoint)}.")


def _prompts_there(checkpoint: Path | str) -> str:
    """What `prompt=` may be, in words."""
    folder = results_of(checkpoint) / "prompts"
    tasks = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.safetensors"))
    kept = f", or a task whose prompt lies with the checkpoint: {', '.join(tasks)}" if tasks else ""
    return f"a file under the prompts/ of a run{kept}"


def no_prompt(state_size: int, action_size: int) -> Prompt:
    """What stands for a prompt where a model ignores it."""
    sizes = {"returns_to_go": 1, "states": state_size, "actions": action_size}
    return Prompt(
        **{name: torch.zeros(1, 1, size) for name, size in sizes.items()},
        timesteps=torch.zeros(1, 1, dtype=torch.int64),
        mask=torch.ones(1, 1, dtype=torch.bool),
    )
