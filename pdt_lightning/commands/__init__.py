"""What the commands share.

That is the parser with its errors and help, the run's trainer and folder, and going on from a checkpoint.

The commands themselves (`fit.py`, `tune.py`, `compare.py`, `collect.py`, `info.py`) lie above all rooms. `cli.py` is
the command line of `fit`, `checkpoint_options.py` what `tune` and `compare` have in common, and `flags.py` the only
place where fields become flags.
"""
