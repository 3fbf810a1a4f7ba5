"""Reward functions: what an answer is worth. Knows no mlx, so that pages may try them before a run."""
