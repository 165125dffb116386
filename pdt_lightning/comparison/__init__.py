"""Tuners under one budget, on frozen checkpoints, all judged on the same fresh episodes.

A `plan.py` makes jobs, `run.py` shares them out, `work.py` does one, `summary.py` puts them together, and `report.py`
and `figures.py` show it. To add a plot of a comparison, write it in `figures.py` and call it in `write_figures`.
What prompts bring on other tasks and checkpoints is played in `transfer.py` and shown by `transfer_report.py`.
"""
