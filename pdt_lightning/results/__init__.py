"""What is left and seen of a phase: tables, figures, films, and the statistics behind them.

`report.py` writes the tables and files of a run, and its `metrics` are the numbers that are logged. `statistics.py` has
the intervals and tests. To add a plot, write a function of a `Record` in `figures.py` and name it in `FIGURES` there:
every run then writes and shows it. Plots of comparisons are in the room `comparison`.
"""
