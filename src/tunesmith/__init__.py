"""Tunesmith: fine-tune language models with Apple MLX from a browser tab."""

__version__ = "0.1.0"
