"""Cross-entropy over big vocabularies in pieces, its gradient computed in the same pass. Knows matrices, no models.

The full logits [N, V] are never kept: each piece gives its part of the sum and of dL/dh, as Liger-Kernel does (arXiv 2410.10989).
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

PIECE = 64  # rows per piece: 64 x 32k float32 logits are 8 MB; larger ones are no faster


def summed_cross_entropy(hidden: mx.array, weight: mx.array, targets: mx.array, counts: mx.array) -> mx.array:
    """Return the float32 sum of the cross-entropy of `hidden @ weight.T` at the targets.

    hidden [N, D] is differentiated; weight [V, D] is frozen; targets [N]; counts [N] is 1 where the loss counts, 0 elsewhere.
    """
    frozen = mx.stop_gradient(hidden)
    sums: list[mx.array] = []
    slopes: list[mx.array] = []
    for begin in range(0, hidden.shape[0], PIECE):
        rows = slice(begin, begin + PIECE)
        piece = frozen[rows]
        if sums:
            piece = mx.depends(piece, [sums[-1], slopes[-1]])  # one piece after the other: the peak is one piece
        total, slope = _piece(piece, weight, targets[rows], counts[rows])
        sums.append(total)
        slopes.append(slope)
    value = mx.stop_gradient(mx.stack(sums).sum())
    slope = mx.stop_gradient(mx.concatenate(slopes))
    carrier = (slope.astype(mx.float32) * hidden.astype(mx.float32)).sum()  # its gradient with respect to hidden is the slope
    return value + carrier - mx.stop_gradient(carrier)


def _piece(hidden: mx.array, weight: mx.array, targets: mx.array, counts: mx.array) -> tuple[mx.array, mx.array]:
    """Return the piece's sum and its slope dL/dh [n, D] = (softmax - one-hot) @ weight."""
    logits = (hidden @ weight.T).astype(mx.float32)  # [n, V]
    highest = logits.max(axis=-1, keepdims=True)
    shifted = mx.exp(logits - highest)
    norm = shifted.sum(axis=-1, keepdims=True)
    chosen = mx.take_along_axis(logits, targets[:, None], axis=-1)
    total = ((mx.log(norm) + highest - chosen)[:, 0] * counts).sum()
    shares = (shifted * (counts[:, None] / norm)).astype(weight.dtype)
    return total, shares @ weight - counts[:, None].astype(weight.dtype) * weight[targets]


def token_log_probabilities(hidden: mx.array, weight: mx.array, targets: mx.array, temperature: float) -> tuple[mx.array, mx.array]:
    """Return the float32 log-probabilities [N] of the targets and the entropies [N] under softmax(hidden @ weight.T / temperature).

    hidden [N, D] is differentiated through the log-probabilities, piece by piece again on the way back; weight [V, D] is frozen.
    """

    @mx.custom_function
    def scored(hidden: mx.array) -> tuple[mx.array, mx.array]:
        pieces: list[tuple[mx.array, mx.array]] = []
        for rows in _pieces(hidden):
            piece = mx.depends(hidden[rows], list(pieces[-1])) if pieces else hidden[rows]
            logits = _log_shares(piece, weight, temperature)
            chosen = mx.take_along_axis(logits, targets[rows][:, None], axis=-1)[:, 0]
            pieces.append((chosen, -(mx.exp(logits) * logits).sum(axis=-1)))
        return mx.concatenate([logs for logs, _ in pieces]), mx.concatenate([entropies for _, entropies in pieces])

    @scored.vjp
    def backward(hidden: mx.array, cotangents: Any, _: Any) -> mx.array:
        slopes: list[mx.array] = []
        for rows in _pieces(hidden):
            piece = mx.depends(hidden[rows], slopes[-1:]) if slopes else hidden[rows]
            shares = mx.exp(_log_shares(piece, weight, temperature))
            scale = (cotangents[0][rows] / temperature)[:, None]
            slope = scale.astype(weight.dtype) * weight[targets[rows]] - (scale * shares).astype(weight.dtype) @ weight
            slopes.append(slope.astype(hidden.dtype))
        return mx.concatenate(slopes)

    result: Any = scored(hidden)
    return result[0], result[1]


def _pieces(hidden: mx.array) -> list[slice]:
    return [slice(begin, begin + PIECE) for begin in range(0, hidden.shape[0], PIECE)]


def _log_shares(hidden: mx.array, weight: mx.array, temperature: float) -> mx.array:
    logits = (hidden @ weight.T).astype(mx.float32) / temperature
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
