"""Several processes that share a batch (`mlx.launch`, ring): sums over all of them. Alone, every function returns what it got."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten


@dataclass(frozen=True)
class Processes:
    """This process's rank among `count`; rank 0 alone writes to the store."""

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def sum_tree(self, tree: Any) -> Any:
        """Return a tree of arrays summed over the processes."""
        if self.count == 1:
            return tree
        names, arrays = zip(*tree_flatten(tree), strict=True)
        return tree_unflatten([(name, mx.distributed.all_sum(array, stream=mx.cpu)) for name, array in zip(names, arrays, strict=True)])

    def sum_numbers(self, *numbers: float) -> list[float]:
        """Return numbers summed over the processes (float32: counts are exact up to 16 million)."""
        if self.count == 1:
            return list(numbers)
        total = mx.distributed.all_sum(mx.array(numbers, mx.float32), stream=mx.cpu)
        return [float(number) for number in total.tolist()]  # type: ignore[union-attr, arg-type]


def join_processes(expected: int) -> Processes:
    """Return this process's place; alone unless `mlx.launch` started several: `expected` of them, or as many as its host file has."""
    if not _is_one_of_several(expected):
        return Processes()
    world = mx.distributed.init(strict=True)
    return Processes(world.rank(), world.size())


def _is_one_of_several(expected: int) -> bool:
    if "MLX_RANK" not in os.environ:
        return expected > 1
    hosts = os.environ.get("MLX_HOSTFILE")
    return hosts is None or bool(Path(hosts).read_text().strip())  # mlx.launch leaves it empty for a single host
