"""What every room stands on: errors, types of options, seeding, files, processes, ranks, signals, the terminal.

It imports nothing of ours. `guests.py` finds what a user names by a class path, `errors.py` and `ranges.py` say what
is wrong with an option, and all randomness comes from `seeding.py`.
"""
