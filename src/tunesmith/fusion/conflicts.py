"""How adapters agree before they are fused: per module their cosine, the signs that differ, and who is loudest. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.fusion.deltas import Delta, gram, rows_of

SAMPLED_ROWS = 256
REDUNDANT, OPPOSED, DOMINANT, SIGNS_CLASH = 0.9, -0.1, 0.75, 0.55


@dataclass(frozen=True)
class ModuleConflict:
    """One module: `cosine` and `sign_disagreement` (share of the values that both change) per pair [k, k], each adapter's share of
    the summed norms [k]; None where an adapter leaves the module alone.
    """

    module: str
    cosine: list[list[float | None]]
    sign_disagreement: list[list[float | None]]
    norm_share: list[float]


@dataclass(frozen=True)
class Remark:
    """Something worth knowing: `redundant`, `opposed`, `signs_clash` (of a pair), `dominant` (of one), `disjoint` (share no module)."""

    code: str
    adapters: tuple[int, ...]
    value: float


def compare_module(module: str, deltas: Sequence[Delta | None]) -> ModuleConflict:
    """Return how the deltas of one module agree; signs are read from 256 rows spread over the matrix, all of a smaller one."""
    k = len(deltas)
    there = [i for i, delta in enumerate(deltas) if delta is not None]
    products = gram([delta for delta in deltas if delta is not None])
    lengths = np.sqrt(np.diag(products))
    rows = {i: _sample(delta) for i, delta in enumerate(deltas) if delta is not None}
    cosine: list[list[float | None]] = [[None] * k for _ in range(k)]
    signs: list[list[float | None]] = [[None] * k for _ in range(k)]
    for x, i in enumerate(there):
        for y, j in enumerate(there):
            if lengths[x] and lengths[y]:
                cosine[i][j] = float(np.clip(products[x, y] / (lengths[x] * lengths[y]), -1, 1))
                signs[i][j] = _sign_disagreement(rows[i], rows[j])
    share = np.zeros(k)
    share[there] = lengths / lengths.sum() if lengths.sum() else 0
    return ModuleConflict(module, cosine, signs, share.tolist())


def _sample(delta: Delta) -> np.ndarray:
    out = delta.shape[0]
    if out <= SAMPLED_ROWS:
        return rows_of(delta, 0, out)
    return np.concatenate([rows_of(delta, row, row + 1) for row in np.linspace(0, out - 1, SAMPLED_ROWS).astype(int)])


def _sign_disagreement(x: np.ndarray, y: np.ndarray) -> float:
    both = (x != 0) & (y != 0)
    count = int(both.sum())
    return float(((x > 0) != (y > 0))[both].sum() / count) if count else 0.0


def remarks(found: Sequence[ModuleConflict], norms: Mapping[int, float]) -> list[Remark]:
    """Return what the map says in words: of each pair over all modules they share, and of the norms [adapter -> ‖Δ‖ over all]."""
    told: list[Remark] = []
    k = len(found[0].norm_share) if found else 0
    for i in range(k):
        for j in range(i + 1, k):
            pairs = [(m.cosine[i][j], m.sign_disagreement[i][j]) for m in found]
            cosines = [c for c, _ in pairs if c is not None]
            if not cosines:
                told.append(Remark("disjoint", (i, j), 0.0))
                continue
            cosine, clash = float(np.mean(cosines)), float(np.mean([s for _, s in pairs if s is not None]))
            if cosine > REDUNDANT:
                told.append(Remark("redundant", (i, j), cosine))
            elif cosine < OPPOSED:
                told.append(Remark("opposed", (i, j), cosine))
            elif clash > SIGNS_CLASH:
                told.append(Remark("signs_clash", (i, j), clash))
    total = sum(norms.values())
    told += [Remark("dominant", (i,), norm / total) for i, norm in norms.items() if total and norm / total > DOMINANT]
    return told
