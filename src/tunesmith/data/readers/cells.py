"""Cells of Parquet and Excel files to what JSON knows. Imports neither library."""

from __future__ import annotations

import math
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from tunesmith.data.formats import Problem, Row
from tunesmith.data.readers.json_values import MOST_NESTED, Item, find_text


class _BrokenTextError(Exception):
    pass


class _ControlCharacterError(Exception):
    pass


class _TooDeepError(Exception):
    pass


def cells_row(number: int, cells: dict[str, Any], most_bytes: int) -> Item:
    """Return the row of named cells, or the problem of its first bad cell. NaN, a missing number, becomes None."""
    plain: dict[str, Any] = {}
    for name, cell in cells.items():
        try:
            value = _plain(cell, 1)
        except _BrokenTextError:
            return Problem(number, name[:200], "broken_text")
        except _ControlCharacterError:
            return Problem(number, find_text({name: cell}, "\0") or name[:200], "control_character", {"found": "U+0000"})
        except _TooDeepError:
            return Problem(number, name[:200], "too_deeply_nested", {"most": MOST_NESTED})
        if size_bytes(value, most_bytes) > most_bytes:
            return Problem(number, name[:200], "field_too_long", {"size_bytes": size_bytes(value), "most_bytes": most_bytes})
        plain[name] = value
    return Row(number, plain)


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        if "\0" in value:
            raise _ControlCharacterError
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, dict | list):
        return _plain_parts(value, depth)
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else _finite(value)
    if isinstance(value, float | Decimal):
        return _finite(value)
    if isinstance(value, bytes):
        try:
            return _plain(value.decode("utf-8"), depth)
        except UnicodeDecodeError as error:
            raise _BrokenTextError from error
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _plain_parts(value: dict[Any, Any] | list[Any], depth: int) -> Any:
    if depth >= MOST_NESTED:
        raise _TooDeepError
    if isinstance(value, dict):
        return {str(name): _plain(part, depth + 1) for name, part in value.items()}
    if value and all(isinstance(part, tuple) and len(part) == 2 for part in value):  # Parquet's maps
        return {str(name): _plain(part, depth + 1) for name, part in value}
    return [_plain(part, depth + 1) for part in value]


def _finite(value: float | Decimal) -> float | None:
    try:
        number = float(value)
    except (OverflowError, ValueError):  # an int or Decimal beyond what a float holds, a signalling NaN
        return None
    return number if math.isfinite(number) else None


def size_bytes(value: Any, enough: int | None = None) -> int:
    """Return the bytes of a cell's texts; an estimate from above will do where it stays below `enough`."""
    if isinstance(value, str):
        return 4 * len(value) if enough is not None and 4 * len(value) <= enough else len(value.encode("utf-8", "replace"))
    if isinstance(value, dict):
        return sum(size_bytes(part, enough) for part in value.values())
    return sum(size_bytes(part, enough) for part in value) if isinstance(value, list) else 8
