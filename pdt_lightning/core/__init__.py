"""What every room stands on: errors, seeding, files, processes, ranks, signals, the terminal. It imports nothing of ours."""
