"""What the commands share: the parser with its errors, the run's trainer and folder, and going on from a checkpoint."""
