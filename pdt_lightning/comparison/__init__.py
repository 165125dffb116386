"""Tuners under one budget, on frozen checkpoints, all judged on the same fresh episodes."""
