"""Several rows in one line without seeing each other, in models that were not written for it.

Each layer is handed a cache-like object that gives the block-diagonal causal mask. Rotary positions are relative, so they need no
reset; models with other positions or with state (Mamba) are found out by `forward.choose_forward` and padded instead.
"""

from __future__ import annotations

import mlx.core as mx


class SegmentMask:
    """What a layer takes for its key-value cache: nothing is kept, the mask lets a token see its own row only."""

    def __init__(self, segments: mx.array) -> None:
        self._segments = segments  # [R, L], -1 is padding
        self._masks: dict[int | None, mx.array] = {}
        self.offset = 0

    def make_mask(self, N: int | None = None, return_array: bool = False, window_size: int | None = None, **_: object) -> mx.array:
        """Return [R, 1, L, L]: same row, not later, and within a sliding window when the layer has one. mlx-lm's cache protocol."""
        del N, return_array
        if window_size not in self._masks:
            place = mx.arange(self._segments.shape[1])
            mask = (place[:, None] >= place[None]) & (self._segments[:, :, None] == self._segments[:, None, :])
            if window_size is not None:
                mask = mask & (place[:, None] < place[None] + window_size)
            self._masks[window_size] = mask[:, None]
        return self._masks[window_size]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Return what came: every line is computed whole."""
        return keys, values
