"""Rows from Parquet files, in batches whose size in memory is bounded by what their pages hold. Imports pyarrow only when it reads."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from tunesmith.data.formats import Problem
from tunesmith.data.readers.archives import broken, printable
from tunesmith.data.readers.cells import cells_row
from tunesmith.data.readers.json_values import Item
from tunesmith.data.readers.meter import Meter
from tunesmith.data.readers.parquet_pages import Chunk, chunk_pages, column_chunks
from tunesmith.data.readers.tables import repeated_columns
from tunesmith.errors import UserError

_BATCH_BYTES = 128_000_000  # a batch whose rows all repeat the largest page of each column stays below this
_BATCH_ROWS = 1024
_LIST_BYTES = 32_000_000  # of a batch that is turned into Python's values at once, which need up to five times as much
_MOST_PAGE_BYTES = 256_000_000
_MOST_LIST_VALUES = 64_000_000  # of a row group's lists: a run of equal numbers takes no room in a page
_FOOTER_LISTS = 200_000
_FOOTER_STRINGS = 20_000_000
# pyarrow's own errors are of these kinds
_ERRORS = (OSError, ValueError, ArithmeticError, LookupError, TypeError, RuntimeError, MemoryError, AttributeError)


def parquet_rows(file: IO[bytes], meter: Meter, advance: Callable[[float], None]) -> Iterator[Item]:
    """Yield the rows of a Parquet file by number; `advance` gets the share that is done.

    Raises UserError `data_file_broken`, `data_file_empty`, `data_too_large`, `data_needs_too_much_memory`, `data_too_many_rows`,
    `data_too_slow`.
    """
    with _parquet_errors(meter.file):
        reader = _open(file)
        total = reader.metadata.num_rows
    if not total:
        raise UserError("data_file_empty", file=meter.file)
    if total > meter.budget.rows:
        raise meter.refuse_more_rows()
    with _parquet_errors(meter.file):
        yield from repeated_columns(1, reader.schema_arrow.names)
        for item in _items(reader, file, meter):
            yield item
            if item.line % _BATCH_ROWS == 0:
                meter.check_time()
                advance(min(1.0, item.line / total))


def _open(file: IO[bytes]) -> Any:
    parquet: Any = importlib.import_module("pyarrow.parquet")
    limits = {"thrift_container_size_limit": _FOOTER_LISTS, "thrift_string_size_limit": _FOOTER_STRINGS}
    schema = parquet.ParquetFile(file, **limits).metadata.schema
    leaves = [schema.column(index) for index in range(len(schema))]
    texts = [leaf.path for leaf in leaves if leaf.max_repetition_level and leaf.physical_type == "BYTE_ARRAY"]
    return parquet.ParquetFile(file, read_dictionary=texts, **limits)  # a text that is repeated in lists is held once


def _items(reader: Any, file: IO[bytes], meter: Meter) -> Iterator[Item]:
    number = 1
    repeated = [reader.metadata.schema.column(index).max_repetition_level > 0 for index in range(reader.metadata.num_columns)]
    for index, chunks in enumerate(column_chunks(file)):
        rows = _rows_at_once(chunks, repeated, file, meter)
        for batch in reader.iter_batches(batch_size=rows, row_groups=[index], use_threads=False):
            size = _expanded_bytes(batch)
            meter.add_bytes(size)
            yield from _batch_items(batch, number, size, meter.budget.field_bytes)
            number += len(batch)


def _batch_items(batch: Any, first: int, size: int, most_bytes: int) -> Iterator[Item]:
    """Yield the rows of a batch; one at a time where all at once would be large, or where a value cannot be read."""
    values: list[Any] = []
    if size <= _LIST_BYTES:
        with suppress(ValueError, OverflowError):
            values = batch.to_pylist()
    if values:
        for number, value in enumerate(values, start=first):
            yield cells_row(number, value, most_bytes)
        return
    for at in range(len(batch)):
        yield _row_item(batch.slice(at, 1), first + at, most_bytes)


def _row_item(row: Any, number: int, most_bytes: int) -> Item:
    size = _expanded_bytes(row)
    if size > max(most_bytes, 1) * len(row.columns):
        return Problem(number, "", "field_too_long", {"size_bytes": size, "most_bytes": most_bytes})
    try:
        return cells_row(number, row.to_pylist()[0], most_bytes)
    except UnicodeDecodeError:
        return Problem(number, "", "broken_text")
    except (ValueError, OverflowError) as error:
        return Problem(number, "", "unreadable_value", {"reason": printable(str(error))})


def _rows_at_once(chunks: list[Chunk], repeated: list[bool], file: IO[bytes], meter: Meter) -> int:
    """Return the rows of a batch, by the pages of the row group. Raises UserError `data_needs_too_much_memory`."""
    together = in_lists = 0
    for chunk, in_list in zip(chunks, repeated, strict=True):
        largest = 0
        for page in chunk_pages(file, chunk):
            meter.check_time()
            largest = max(largest, page.size_bytes)
            in_lists += page.values if in_list else 0
            if page.prefixed and in_list:
                raise ValueError("DELTA_BYTE_ARRAY in lists")  # it unpacks to more than its pages tell
        together += largest
        if largest > _MOST_PAGE_BYTES or in_lists > _MOST_LIST_VALUES:
            raise UserError("data_needs_too_much_memory", file=meter.file)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, together)))


def _expanded_bytes(batch: Any) -> int:
    """Return the bytes of a batch with every text written out."""
    compute: Any = importlib.import_module("pyarrow.compute")
    types: Any = importlib.import_module("pyarrow.types")

    def expanded(array: Any) -> int:
        if types.is_dictionary(array.type):
            lengths = compute.binary_length(array.dictionary)
            return int(compute.sum(lengths.take(array.indices)).as_py() or 0)
        if types.is_struct(array.type):
            return sum(map(expanded, array.flatten()))
        if types.is_map(array.type):
            entries = array.offsets
            first, last = (entries[0].as_py(), entries[-1].as_py()) if len(entries) else (0, 0)
            return sum(expanded(part.slice(first, last - first)) for part in (array.keys, array.items))
        if types.is_nested(array.type):
            return expanded(array.flatten())
        return max(int(array.nbytes), 8 * len(array))  # a list of Python needs that much for nothing at all

    return sum(map(expanded, batch.columns))


@contextmanager
def _parquet_errors(file: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except _ERRORS as error:
        raise broken(file, error) from error
