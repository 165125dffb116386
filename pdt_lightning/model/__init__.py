"""What learns: a causal transformer over a trajectory prompt and the recent past."""
