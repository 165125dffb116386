"""One phase of tuning: a tuner and rollouts take turns on every task, and what they find is judged on fresh episodes.

`phase.py` reads from top to bottom as a phase runs; `search.py` advances many tuners together; `oracle.py` looks for
the best found, which is no upper limit. To change what is maximised, see `objective.py`. What a user may set stands in
`options.py`, what comes out in `result.py`, and what figures are drawn from in `record.py`.
"""
