"""Rows from Parquet files, in batches whose size in memory is bounded by what their pages hold. Imports pyarrow only when it reads."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from tunesmith.data.formats import Problem
from tunesmith.data.readers.archives import broken, printable
from tunesmith.data.readers.cells import cells_row
from tunesmith.data.readers.json_values import Item
from tunesmith.data.readers.meter import Meter
from tunesmith.data.readers.parquet_pages import Chunk, chunk_pages, column_chunks, longest_text
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
        reader = _open(file, [])
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


def _open(file: IO[bytes], repeating: list[str]) -> Any:
    """Open a file. The texts of repeating columns are held once each: pyarrow gives numbers and a dictionary of them."""
    parquet: Any = importlib.import_module("pyarrow.parquet")
    limits = {"thrift_container_size_limit": _FOOTER_LISTS, "thrift_string_size_limit": _FOOTER_STRINGS}
    return parquet.ParquetFile(file, read_dictionary=repeating, **limits)


def _items(reader: Any, file: IO[bytes], meter: Meter) -> Iterator[Item]:
    number = 1
    schema = reader.metadata.schema
    columns = [schema.column(index) for index in range(len(schema))]
    for index, chunks in enumerate(column_chunks(file)):
        sizes = [_look_at(chunk, column, file, meter) for chunk, column in zip(chunks, columns, strict=True)]
        repeating = [column.path for column, size in zip(columns, sizes, strict=True) if size.repeated_bytes > _BATCH_BYTES]
        rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, sum(size.largest_page_bytes for size in sizes))))
        group_reader = _open(file, repeating) if repeating else reader
        for batch in group_reader.iter_batches(batch_size=rows, row_groups=[index], use_threads=False):
            size = _expanded_bytes(batch) if repeating else max(int(batch.nbytes), 8 * len(batch) * len(columns))
            meter.add_bytes(size)
            yield from _batch_items(batch, number, size, meter.budget.field_bytes)
            number += len(batch)


@dataclass(frozen=True)
class _Sizes:
    """What a column chunk needs: its largest page, and its texts in lists if each were as long as the longest that is repeated."""

    largest_page_bytes: int
    repeated_bytes: int


def _look_at(chunk: Chunk, column: Any, file: IO[bytes], meter: Meter) -> _Sizes:
    """Read the headers of a column chunk's pages. Raises UserError `data_needs_too_much_memory`, `data_too_slow`."""
    in_list = column.max_repetition_level > 0
    largest = total = values = indices = longest = 0
    for page in chunk_pages(file, chunk):
        meter.check_time()
        largest = max(largest, page.size_bytes)
        total += page.size_bytes
        values += page.values
        if largest > _MOST_PAGE_BYTES or (in_list and values > _MOST_LIST_VALUES):
            raise UserError("data_needs_too_much_memory", file=meter.file)
        if in_list and page.kind == "prefixed":
            raise ValueError("DELTA_BYTE_ARRAY in lists")  # it unpacks to more than its pages tell
        if in_list and page.kind == "dictionary" and column.physical_type == "BYTE_ARRAY":
            longest = max(longest, longest_text(file, chunk, page))
        indices += page.values if page.kind == "indices" else 0
    repeated = indices * longest
    if repeated > _BATCH_BYTES and total > _MOST_PAGE_BYTES:  # the dictionary takes in all the other texts
        raise UserError("data_needs_too_much_memory", file=meter.file)
    return _Sizes(largest, repeated)


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
