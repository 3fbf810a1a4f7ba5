"""Linear layers in which every row of a batch has an adapter of its own, around one copy of the base. Knows no tokens and no texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tuner.lora import LoRALinear

from tunesmith.inference.adapter_bank import Adapter, AdapterBank

Weighted = tuple[Adapter | None, float]  # an adapter, or none, and how many times its own strength


class RowLinear(nn.Module):  # type: ignore[misc]
    """The base's own layer and what each row's adapter adds: y + (x A_row) B_row.

    x [B, T, in], A [B, in, r], B [B, r, out] with the rows' scales in it; a row without adapter has zeros, a lower rank is filled up
    with zeros. Source: LoRA, Hu et al., arXiv 2106.09685; many adapters in a batch, Punica, arXiv 2310.18547.
    """

    def __init__(self, linear: Any, factors: tuple[mx.array, mx.array] | None) -> None:
        super().__init__()
        self.linear, self.factors = linear, factors

    def __call__(self, x: mx.array) -> mx.array:
        """Return the rows' outputs [B, T, out]."""
        y: mx.array = self.linear(x)
        if self.factors is None:
            return y
        a, b = self.factors
        added: mx.array = mx.addmm(y, x @ a, b) if a.dtype == y.dtype else y + (x @ a @ b).astype(y.dtype)
        return added


def fit_one_batch(adapters: Sequence[Adapter | None]) -> bool:
    """Return whether these adapters can be rows of one batch: LoRA can, DoRA and full tuning change the base's own weights."""
    return all(type(part) is LoRALinear for adapter in adapters if adapter for part in adapter.parts.values())


class AdapterRows:
    """Puts row layers into a bank's model until the bank activates something else."""

    def __init__(self, bank: AdapterBank, rows: Sequence[Weighted]) -> None:
        places = sorted({place for adapter, _ in rows if adapter for place in adapter.parts})
        self._worn = [[adapter is not None and place in adapter.parts for adapter, _ in rows] for place in places]
        self._stacks = [_stack(place, rows) for place in places]
        mx.eval(self._stacks)
        linears = [next(adapter.parts[place].linear for adapter, _ in rows if adapter and place in adapter.parts) for place in places]
        self._layers = [RowLinear(linear, stack) for linear, stack in zip(linears, self._stacks, strict=True)]
        bank.activate(Adapter(dict(zip(places, self._layers, strict=True))))

    def show(self, rows: slice) -> None:
        """Compute only these rows from now on."""
        for layer, worn, (a, b) in zip(self._layers, self._worn, self._stacks, strict=True):
            layer.factors = (a[rows], b[rows]) if any(worn[rows]) else None

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all other rows."""
        chosen = mx.array(list(rows))
        self._worn = [[worn[row] for row in rows] for worn in self._worn]
        self._stacks = [(a[chosen], b[chosen]) for a, b in self._stacks]
        self.show(slice(None))
        mx.eval(self._stacks)


def _stack(place: str, rows: Sequence[Weighted]) -> tuple[mx.array, mx.array]:
    """Return the rows' factors of one place, A [B, in, r] and scale times B [B, r, out]."""
    parts = [(adapter.parts.get(place) if adapter else None, strength) for adapter, strength in rows]
    known = next(part for part, _ in parts if part is not None)
    rank = max(part.lora_a.shape[1] for part, _ in parts if part is not None)
    a, b = [], []
    for part, strength in parts:
        if part is None:
            a.append(mx.zeros((known.lora_a.shape[0], rank), known.lora_a.dtype))
            b.append(mx.zeros((rank, known.lora_b.shape[1]), known.lora_b.dtype))
            continue
        room = rank - part.lora_a.shape[1]
        scaled = (part.lora_b.astype(mx.float32) * (part.scale * strength)).astype(part.lora_b.dtype)
        a.append(mx.pad(part.lora_a, [(0, 0), (0, room)]))
        b.append(mx.pad(scaled, [(0, room), (0, 0)]))
    return mx.stack(a), mx.stack(b)
