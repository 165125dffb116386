"""What is left and seen of a phase: tables, figures, films, and the statistics behind them.

To add a plot, write a function of a `Record` in `figures.py` and name it in `FIGURES` there: every run then writes
and shows it. Plots of comparisons are in the room `comparison`.
"""
