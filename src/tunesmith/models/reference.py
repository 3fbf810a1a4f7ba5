"""The reference policy: the base as it was before any tuning, inside the model that is tuned. Knows no data and no loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear

_DORA = (DoRALinear, DoRAEmbedding)


class Reference:
    """Remembers what makes a model its base: nothing for LoRA, the first magnitudes for DoRA, the first weights for full tuning.

    Make it after the model was made trainable and before any weights are loaded. mlx arrays do not change in place, so what is
    remembered takes memory only once training has replaced it.
    """

    def __init__(self, model: Any, wanted: bool = True) -> None:
        """Remember; a method that is never compared with its base wants nothing remembered, so that no memory is held."""
        self._model = model
        self._scaled = [module for _, module in model.named_modules() if hasattr(module, "lora_a")]
        self._magnitudes = [(module, module.m) for module in self._scaled if isinstance(module, _DORA)]
        self._weights: list[tuple[str, mx.array]] = [] if self._scaled or not wanted else tree_flatten(model.trainable_parameters())

    @contextmanager
    def switched_on(self) -> Iterator[None]:
        """Make the model compute exactly what its base does, until the end of the block."""
        scales = [module.scale for module in self._scaled]
        magnitudes = [module.m for module, _ in self._magnitudes]
        weights = tree_flatten(self._model.trainable_parameters()) if self._weights else []
        try:
            for module in self._scaled:
                module.scale = 0.0
            for module, magnitude in self._magnitudes:
                module.m = magnitude
            if self._weights:
                self._model.load_weights(self._weights, strict=False)
            yield
        finally:
            for module, scale in zip(self._scaled, scales, strict=True):
                module.scale = scale
            for (module, _), magnitude in zip(self._magnitudes, magnitudes, strict=True):
                module.m = magnitude
            if weights:
                self._model.load_weights(weights, strict=False)
