"""What the commands share.

That is the parser with its errors and help, the run's trainer and folder, and going on from a checkpoint.

The commands themselves (`fit.py`, `tune.py`, `compare.py`, `transfer.py`, `collect.py`, `export.py`, `info.py`) lie
above all rooms. `cli.py` is the command line of `fit`, and `checkpoint_options.py` what the commands that take a
checkpoint have in common. `parser.py` is the parser of every command, which explains errors, and `flags.py` writes the
names of options in messages as the command's flags. `run_folder.py` decides in which folder a run goes on, `resume.py`
with which options it may, and `endings.py` has the messages at the end of `fit`, also when it was stopped.
`data_check.py` is what `collect check` shows.

To add an option of `fit`, add a parameter with its docstring to the class that uses it: `MultiTaskDataModule` for
`data`, `LitPDT` for `model`, `TuningOptions` or `PromptTuning` for `tuning`. Options of the run itself, and the order
of the groups of options in `--help`, are in `run_options.py`. `tune.py`, `compare.py` and `collect.py` list their own.
"""
