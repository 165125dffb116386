"""Pretrain on many tasks and tune prompts of the held-out ones: `python -m pdt_lightning.fit --config conf/metaworld.yaml`."""

import signal
import sys


def main(args: list[str] | None = None) -> None:
    """Run a whole job; `args` replace the command line."""
    print("Loading the libraries ...", file=sys.stderr, flush=True)
    from rich.console import Console  # imported here, since the libraries take seconds and silence looks like a hang

    from pdt_lightning.cli import RunCLI
    from pdt_lightning.report import print_footer, print_stop
    from pdt_lightning.signals import Interrupted

    print("Reading the configuration and laying out the tasks ...", file=sys.stderr, flush=True)
    cli = RunCLI(args)
    if cli.trainer.is_global_zero:
        console = Console(soft_wrap=True, highlight=False)
        size = sum(parameter.numel() for parameter in cli.model.parameters())
        console.print(f"Run folder {cli.run_folder}, {cli.start}.")
        console.print(f"{size:,} parameters; precision {cli.trainer.precision}, {cli.precision_reason}.")
        console.print(f"Watch it: tensorboard --logdir {cli.run_folder}")
        cli.run_folder.mkdir(parents=True, exist_ok=True)  # from now on `--ckpt_path last` means this run
    try:
        cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.checkpoint)
    except Interrupted as where:
        if not cli.trainer.is_global_zero:
            sys.exit()  # with another code Lightning would kill the first rank before it has spoken
        print_stop(cli.run_folder, str(where), sys.argv[1:] if args is None else args)
        sys.exit(128 + (cli.interruption.request.signal or signal.SIGTERM))
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt) and cli.trainer.is_global_zero:  # before training, or a second one in it
            print_stop(cli.run_folder, "at once", sys.argv[1:] if args is None else args)
            sys.exit(128 + signal.SIGINT)
        raise
    if cli.trainer.is_global_zero:
        print_footer(cli.run_folder)


if __name__ == "__main__":
    main()
