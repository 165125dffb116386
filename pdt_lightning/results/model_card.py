"""The model card of an exported model: what it was trained on, what it does, how to load it."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pdt_lightning.data.segments import Prompt
from pdt_lightning.results.markdown import markdown_table
from pdt_lightning.results.report import KINDS, cell
from pdt_lightning.tuning import oracle

# By the part of the configuration, what a reader wants to know of it first.
SHOWN = {
    "model": (
        *("attention", "width", "layers", "heads", "inner", "dropout", "use_prompt", "use_return_to_go", "transformer"),
        *("learning_rate", "weight_decay", "warmup_updates", "schedule", "gradient_clip"),
    ),
    "data": (
        *("context_steps", "segments", "segment_steps", "prompt_sampling", "use_expert_actions", "batch_size"),
        "validation_share",
    ),
}
LOAD = """```python
import gymnasium

import pdt_lightning

policy = pdt_lightning.load("{name}", prompt="{task}")
env = gymnasium.make(policy.environment)
observation, _ = env.reset(seed=0)
policy.reset()
reward, over = None, False
while not over:
    observation, reward, terminated, truncated, info = env.step(policy.act(observation, reward))
    over = terminated or truncated
```

```console
python -m pdt_lightning.tune --ckpt_path {name} --rounds 60
```
"""
WITHOUT_PROMPT = """It was trained without prompts: `pdt_lightning.load("{name}", target_return=..., return_scale=...)`.
"""
PROGRAM = """## Without this package

`policy.pt2` is one step of the policy for `torch.export.load`, for any number of episodes that are played in step,
written by the version of torch above. The memory goes in and comes out; before the first step it is zeros:

```python
import json

import torch
from safetensors import safe_open

step = torch.export.load("policy.pt2").module()
with safe_open("prompts/{task}.safetensors", framework="pt") as file:
    names = ("returns_to_go", "states", "actions", "timesteps", "mask")  # in this order
    prompt = {{name: file.get_tensor(name) for name in names}}
    facts = json.loads(file.metadata()["facts"])
sizes = {{"returns_to_go": 1, "states": {states}, "actions": {actions}}}
memory = {{name: torch.zeros(1, {steps}, size, dtype=prompt[name].dtype) for name, size in sizes.items()}}
to_go = torch.tensor([facts["target_return"] / facts["return_scale"]])
state = torch.zeros(1, {states}, dtype=prompt["states"].dtype)  # what the environment shows
action, memory = step(prompt, memory, state, to_go, torch.tensor(0))  # the number of the step
```

After every step the reward, divided by `return_scale`, is taken from `to_go`.
"""


def model_card(
    name: str,
    config: Mapping[str, Any],
    summary: Mapping[str, Any] | None,
    prompts: Mapping[str, Prompt],
    versions: Mapping[str, str],
    program_steps: int | None = None,
) -> str:
    """The card, as Markdown with the header that model hubs read.

    Args:
        name: of the model's folder.
        config: as `exported.write` gives it.
        summary: the content of `summary.json`; None: nothing was played.
        prompts: by task, those that lie beside it.
        versions: of packages, by name.
        program_steps: steps that the memory of `policy.pt2` holds; None: there is no such file.
    """
    model, data, facts = config["model"], config["data"], config["facts"]
    task = next(iter(prompts), None)
    # What a package's index or a model hub lists it by.
    header = {"license": "mit", "library_name": "pdt-lightning", "tags": ["decision-transformer", data["family"]]}
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n",
        f"# {name}\n",
        f"A Prompting Decision Transformer, pretrained on the task family `{data['family']}` by pdt_lightning. What it "
        "does is decided by a trajectory prompt; those of the held-out tasks lie under `prompts/`.\n",
        "## How to load it\n",
        LOAD.format(name=name, task=task) if task else WITHOUT_PROMPT.format(name=name),
        "The name finds the model where the package that brings it is installed; else give the path of this folder.\n",
        "## Data\n",
        _data(data, facts),
        "## Training\n",
        f"{config['updates']:,} updates with seed {model['seed']} for the weights and seed {data['seed']} for the "
        "batches:\n",
        _table(
            ("option", "value"), [(f"`{part}.{key}`", config[part].get(key)) for part in SHOWN for key in SHOWN[part]]
        ),
        "`config.yaml` has all options.\n",
        "## Results\n",
        _results(summary),
        "## Versions\n",
        "The model was exported with these packages:\n",
        _table(("package", "version"), list(versions.items())),
    ]
    if program_steps is not None:
        sizes = {"states": model["state_size"], "actions": model["action_size"], "steps": program_steps}
        parts.append(PROGRAM.format(task=task, **sizes))
    return "\n".join(parts)


def _data(data: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]]) -> str:
    """Which tasks there are, and how their demonstrations are had."""
    trained = [task for task, known in facts.items() if known["trained"]]
    held_out = [task for task in facts if task not in trained]
    options = data["family_options"] or {}
    text = ""
    for what, tasks in (("It was trained on", trained), ("Prompts were looked for on", held_out)):
        if tasks:
            text += f"{what} {len(tasks)} tasks: {', '.join(f'`{task}`' for task in tasks)}. "
    if data["family"] == "minari":
        return text + "The Minari datasets are listed in `config.yaml`.\n"
    collected = f"python -m pdt_lightning.collect {data['family']}"
    if options:
        in_a_line = yaml.safe_dump(dict(options), default_flow_style=True, width=10**6).strip()
        collected = f"python -m pdt_lightning.collect {data['family']} --family_options={shlex.quote(in_a_line)}"
    return text + (
        "The demonstrations are Minari datasets, whose ids are in `config.yaml`. This command collects them:\n\n"
        f"```console\n{collected}\n```\n"
    )


def _results(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return "No prompt was judged.\n"
    shown = [kind for kind in KINDS if summary["aggregate"][kind] is not None]
    rows = [
        (f"`{task}`", *(_cell(own[kind]) for kind in shown), own["rollouts"], own["prompt"])
        for task, own in summary["tasks"].items()
    ]
    rows.append(("all", *(_cell(summary["aggregate"][kind]) for kind in shown), "", ""))
    names = [oracle.NAME if kind == "oracle" else kind for kind in shown]
    return (
        "Means over fresh episodes, with 95 % intervals over these episodes. This is one pretraining with one seed of "
        "tuning, whose luck is not in the intervals.\n\n"
        + _table(("task", *names, "rollouts spent", "prompt"), rows)
        + "\n`summary.json` has the numbers.\n"
    )


def _cell(figures: Mapping[str, Any] | None) -> str:
    return cell(None if figures is None else dict(figures)).replace("\n", "<br>")


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return markdown_table(header, [[_text(value) for value in row] for row in rows]) + "\n"


def _text(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
