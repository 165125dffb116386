"""Export a trained model: a folder of plain files with its prompts and a model card, which `load` and `tune` read.

python -m pdt_lightning.export --ckpt_path runs/point/version_0/checkpoints/last.ckpt --out point
"""

import json
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdt_lightning.commands.flags import TUNE, flags_of
from pdt_lightning.commands.parser import Explaining, command_parser
from pdt_lightning.core.errors import NotFoundError, UserError, check_writable, command
from pdt_lightning.core.files import write_atomically
from pdt_lightning.core.terminal import quiet, say
from pdt_lightning.data.segments import Prompt
from pdt_lightning.info import PACKAGES, installed
from pdt_lightning.model import exported
from pdt_lightning.model.checkpoints import load_module, read, results_of
from pdt_lightning.results.model_card import model_card
from pdt_lightning.rollouts.prompted import no_prompt

PROGRAM = "policy.pt2"


def parser() -> Explaining:
    """The parser of this command."""
    parser = command_parser("export", "--ckpt_path FILE --out FOLDER", __doc__)
    add = parser.add_argument
    add("--ckpt_path", type=str, required=True, help="The checkpoint to export.")
    add("--out", type=str, required=True, help="The folder to write, whose name becomes the model's.")
    add(
        "--results",
        type=str | None,
        default=None,
        help="The folder with the prompts/ and the summary.json to export, such as one that tune has left. Null means "
        "the run's.",
    )
    add(
        "--torch_export",
        type=bool,
        default=False,
        help=f"Whether to write {PROGRAM} too: one step of the policy, for torch.export.load, without this package.",
    )
    return parser


@command(flags_of(TUNE))
def main(args: list[str]) -> None:
    """Run the command; `args` replace the command line."""
    quiet()
    config = parser().parse_args(args)
    folder = Path(config.out)
    check_writable("--out", folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--out={folder} holds something already. Name another folder, or remove it.")
    print("Reading the checkpoint ...", file=sys.stderr, flush=True)
    content, module = read(config.ckpt_path), load_module(config.ckpt_path)  # whose weights fit its options
    results = Path(config.results) if config.results else results_of(config.ckpt_path)
    if config.results and not results.is_dir():
        raise NotFoundError(f"--results={results}: there is no such folder. Name one that fit or tune has left.")
    prompts = {
        path.relative_to(results / "prompts").with_suffix("").as_posix(): path
        for path in sorted((results / "prompts").rglob("*.safetensors"))
    }
    if not prompts and module.hparams["use_prompt"]:
        raise NotFoundError(
            f"--ckpt_path={config.ckpt_path}: {results} has no prompts/, without which the model does nothing. Tune "
            "some with pdt_lightning.tune, and name the folder that it leaves with --results."
        )
    summary = summary_of(results, config.ckpt_path, content)
    loaded = {task: Prompt.load(path) for task, path in prompts.items()}
    steps = None
    if config.torch_export:  # first, since it is what can fail
        from pdt_lightning.model.program import reach_of, save_program  # which takes seconds

        print("Writing the policy down for torch ...", file=sys.stderr, flush=True)
        sizes = (module.hparams["state_size"], module.hparams["action_size"])
        save_program(folder / PROGRAM, module, next(iter(loaded.values()), no_prompt(*sizes)))
        steps = reach_of(module) - 1
    written = exported.write(folder, content)
    for task, path in prompts.items():
        write_atomically(folder / "prompts" / f"{task}.safetensors", path.read_bytes())
    if summary is not None:
        write_atomically(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    versions = {"python": platform.python_version(), **{package: installed(package) for package in PACKAGES}}
    write_atomically(folder / "README.md", model_card(folder.resolve().name, written, summary, loaded, versions, steps))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    say(f"Written to {folder}, {size / 1e6:.1f} MB: {', '.join(sorted(path.name for path in folder.iterdir()))}.")


def summary_of(results: Path, checkpoint: str, content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of `summary.json`, None where there is none.

    Args:
        results: the folder that it lies in, with the prompts.
        checkpoint: as the user named it.
        content: of the checkpoint.

    Raises:
        UserError: if it is of another checkpoint.
    """
    path = results / "summary.json"
    if not path.is_file():
        return None
    summary = json.loads(path.read_text())
    # A run's says of which epoch it is, and what `tune` has left of which file.
    of_run = "final" in summary and summary["epoch"] != content.get("epoch", summary["epoch"])
    of_tune = "final" not in summary and Path(summary["checkpoint"]).name != Path(checkpoint).name
    if of_run or of_tune:
        raise UserError(
            f"--ckpt_path={checkpoint}: the prompts and figures in {results} are of {summary['checkpoint']} after "
            f"epoch {summary['epoch']}, not of this checkpoint. Export that one, or tune this one with "
            "pdt_lightning.tune and name the folder that it leaves with --results."
        )
    # Where it lay is nobody's affair with whom the folder is shared.
    place = Path(summary["checkpoint"])
    return {**summary, "checkpoint": f"checkpoints/{place.name}" if place.parent.name == "checkpoints" else place.name}


if __name__ == "__main__":
    main()
