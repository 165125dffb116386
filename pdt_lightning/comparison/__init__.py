"""What is compared: tuners under one budget, on frozen checkpoints, all on the same fresh episodes."""
