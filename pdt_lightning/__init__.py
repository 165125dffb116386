"""Pretrain a Prompting Decision Transformer on many tasks, then let a bandit find the prompts that work."""

__version__ = "0.1.0"
