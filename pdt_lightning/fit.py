"""Pretrain on many tasks and tune prompts of the held-out ones.

python -m pdt_lightning.fit --config conf/metaworld.yaml
"""

import signal
import sys

from pdt_lightning.commands.flags import FIT, flags_of
from pdt_lightning.core.errors import command, is_the_users


@command(flags_of(FIT))
def main(args: list[str]) -> None:
    """Run a whole job; `args` replace the command line."""
    print("Loading the libraries ...", file=sys.stderr, flush=True)
    # Imported here, since the libraries take seconds and silence looks like a hang.
    from pdt_lightning.commands.cli import RunCLI
    from pdt_lightning.commands.endings import print_footer, print_stop
    from pdt_lightning.commands.loggers import where_to_look
    from pdt_lightning.commands.run_folder import requeue
    from pdt_lightning.core.signals import Interrupted
    from pdt_lightning.core.terminal import say

    print("Reading the configuration and laying out the tasks ...", file=sys.stderr, flush=True)
    cli = RunCLI(args)
    try:
        cli.begin(args)
        if cli.trainer.is_global_zero:
            size = sum(parameter.numel() for parameter in cli.model.parameters())
            say(f"Run folder {cli.run_folder}, {cli.start}.")
            say(f"{size:,} parameters; precision {cli.trainer.precision}, {cli.precision_reason}.")
            look = where_to_look(cli.trainer.loggers)
            for place in look:
                say(f"Watch it: {place}")
            # Demonstrations that will not do are found out now, and not when other processes and a logger have started.
            cli.datamodule.prepare_data()
            cli.datamodule.setup()
            cli.check_monitors()
        cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.checkpoint)
        if cli.trainer.is_global_zero:
            if nothing := cli.nothing_was_left():
                say(nothing)
            print_footer(cli.run_folder, look)
    except Interrupted as where:
        if not cli.trainer.is_global_zero:
            sys.exit()  # with another code Lightning would kill the first rank before it has spoken
        print_stop(cli.run_folder, str(where), args)
        if cli.interruption.request.signal is signal.SIGUSR1:
            requeue()
        sys.exit(128 + (cli.interruption.request.signal or signal.SIGTERM))
    except (KeyboardInterrupt, SystemExit) as end:  # before training, or a second signal
        # Lightning makes an exit of it.
        told = isinstance(end, KeyboardInterrupt) or isinstance(end.__context__, KeyboardInterrupt)
        if told and cli.trainer.is_global_zero:
            print_stop(cli.run_folder, "at once", args)
            sys.exit(128 + signal.SIGINT)
        raise
    except Exception as error:
        if is_the_users(error):
            cli.forget()
        raise
    finally:
        cli.release()


if __name__ == "__main__":
    main()
