"""Our losses beside those of trl's own trainers, on arrays that are made here: no model is loaded."""

from __future__ import annotations

from tunesmith.models.blas import prepare_engine

prepare_engine()  # before the first import of mlx
