"""One phase of tuning: a tuner and rollouts take turns on every task, and what they find is judged on fresh episodes.

`phase.py` reads from top to bottom as a phase runs; `search.py` advances many tuners together; `oracle.py` looks for
the best found, which is no upper limit. `phase_episodes.py` has the random prompts and the episodes on which prompts
are compared, those of the untuned baseline among them. To change what is maximised, see `objective.py`. A search ends
when its tuner asks for nothing more; when that is early, see `Tuner.ask` in `tuners/base.py`, and for the bandit
`_may_end` in `tuners/structured.py`.

What a user may set stands in `options.py`, what comes out in `result.py`, and what figures are drawn from in
`record.py`. `journal.py` keeps rollouts on disk, so that a phase that was stopped goes on.
"""
