"""What is known: demonstrations on disk, in memory, and as windows and segments for the model."""
