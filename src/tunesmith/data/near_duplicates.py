"""Near duplicates of texts: MinHash and banding find candidates, the exact Jaccard similarity decides. Knows no rows and no files.

Broder, "On the resemblance and containment of documents", 1997; banding as in Leskovec et al., "Mining of Massive Datasets", ch. 3.
Shingles are pieces of 5 characters, so that text without spaces (Japanese) is compared as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import rensa

SHINGLE = 5
PERMUTATIONS = 128
BLOCK = 512
_SEED = 42
_POWERS = [pow(1_000_003, k, 1 << 64) for k in range(SHINGLE)]
Hashes = npt.NDArray[np.uint64]


def shingle_hashes(text: str) -> Hashes:
    """Return the distinct hashes of a text's pieces of 5 characters, case and repeated white space aside; one for a shorter text."""
    points = np.frombuffer(" ".join(text.casefold().split()).encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
    count = max(1, len(points) - SHINGLE + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for place, power in enumerate(_POWERS):
        part = points[place : place + count]
        hashes[: len(part)] += part * np.uint64(power)
    hashes ^= hashes >> np.uint64(31)
    hashes *= np.uint64(0x9E3779B97F4A7C15)
    hashes ^= hashes >> np.uint64(29)
    return np.unique(hashes)


def jaccard(left: Hashes, right: Hashes) -> float:
    """Return the share of the pieces of either text that both have."""
    both = len(np.intersect1d(left, right, assume_unique=True))
    return both / (len(left) + len(right) - both)


def bands_of(threshold: float) -> tuple[int, int]:
    """Return (bands, rows of each): a pair at the threshold shares a band with probability above 0.99."""
    for rows in range(16, 0, -1):
        bands = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands > 0.99:
            return bands, rows
    return PERMUTATIONS, 1


def band_keys(shingles: Sequence[Hashes], bands: int, rows: int) -> Iterator[list[bytes]]:
    """Yield the keys [bands] of each text: texts that share one, in its place, are candidates."""
    offsets = [0, *accumulate(len(hashes) for hashes in shingles)]
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(shingles), offsets, PERMUTATIONS, _SEED)
    for digest in np.array(matrix.to_rows(), dtype=np.uint32):
        yield [digest[band * rows : (band + 1) * rows].tobytes() for band in range(bands)]


class NearDuplicateIndex:
    """Texts by number; each new one is compared with those before that could be near. `text_of` reads a text again to decide."""

    def __init__(self, threshold: float, text_of: Callable[[int], str]) -> None:
        self._threshold = threshold
        self._text_of = text_of
        self._bands, self._rows = bands_of(threshold)
        self._seen: list[dict[bytes, int]] = [{} for _ in range(self._bands)]

    def add_block(self, first: int, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Add texts numbered from `first` on; yield (number, earlier number) of those that are near an earlier one."""
        shingles = [shingle_hashes(text) for text in texts]
        for place, keys in enumerate(band_keys(shingles, self._bands, self._rows)):
            candidates = {seen[key] for seen, key in zip(self._seen, keys, strict=True) if key in seen}
            near = next((c for c in sorted(candidates) if self._is_near(shingles[place], c, first, shingles)), None)
            if near is not None:
                yield first + place, near
                continue
            for seen, key in zip(self._seen, keys, strict=True):
                seen.setdefault(key, first + place)

    def _is_near(self, hashes: Hashes, candidate: int, first: int, shingles: Sequence[Hashes]) -> bool:
        other = shingles[candidate - first] if candidate >= first else shingle_hashes(self._text_of(candidate))
        return jaccard(hashes, other) >= self._threshold


class NearTexts:
    """A fixed list of texts in which others are looked up: all that are near are found, and nothing is added."""

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        self._threshold = threshold
        self._bands, self._rows = bands_of(threshold)
        self._shingles = [shingle_hashes(text) for text in texts]
        self._places: list[dict[bytes, list[int]]] = [{} for _ in range(self._bands)]
        for number, keys in enumerate(band_keys(self._shingles, self._bands, self._rows) if texts else ()):
            for places, key in zip(self._places, keys, strict=True):
                places.setdefault(key, []).append(number)

    def find(self, texts: Sequence[str]) -> Iterator[list[tuple[int, float]]]:
        """Yield of each text (number in the list, Jaccard similarity) of those that it is near to, in the list's order."""
        shingles = [shingle_hashes(text) for text in texts]
        for hashes, keys in zip(shingles, band_keys(shingles, self._bands, self._rows) if texts else (), strict=True):
            candidates = {number for places, key in zip(self._places, keys, strict=True) for number in places.get(key, ())}
            alike = [(number, jaccard(hashes, self._shingles[number])) for number in sorted(candidates)]
            yield [(number, similarity) for number, similarity in alike if similarity >= self._threshold]
