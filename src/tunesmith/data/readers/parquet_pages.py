"""What the pages of a Parquet file unpack to, by their own headers: the footer's sizes are what a writer says. Reads no values.

Format: https://parquet.apache.org/docs/file-format/data-pages/ in Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

_HEADER_BYTES = 8192
_MOST_HEADER_BYTES = 1_000_000
_PREFIXED = 7  # DELTA_BYTE_ARRAY: each value may repeat all of the one before it
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12


@dataclass(frozen=True)
class Page:
    """A page's size in memory and its number of values."""

    size_bytes: int
    values: int
    prefixed: bool


def column_pages(file: IO[bytes], column: Any) -> Iterator[Page]:
    """Yield the pages of a column chunk, told by pyarrow's `ColumnChunkMetaData`. Raises ValueError for broken headers."""
    start = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
        start = column.dictionary_page_offset
    end = start + column.total_compressed_size
    while start < end:
        header, size = _read_header(file, start)
        packed, unpacked = header.get(3, -1), header.get(2, -1)
        if not isinstance(packed, int) or not isinstance(unpacked, int) or packed < 0 or unpacked < 0:
            raise ValueError("page header")
        body = header.get(5) or header.get(8) or header.get(7) or {}
        encoding = body.get(4 if 8 in header else 2)
        yield Page(unpacked, max(0, body.get(1, 0)), encoding == _PREFIXED)
        start += size + packed


def _read_header(file: IO[bytes], start: int) -> tuple[dict[int, Any], int]:
    for most in (_HEADER_BYTES, _MOST_HEADER_BYTES):
        file.seek(start)
        reader = _Compact(file.read(most))
        try:
            return reader.struct(0), reader.at
        except IndexError:
            continue
    raise ValueError("page header")


class _Compact:
    """Reads a Thrift struct into {field number: integer or struct}; what is longer is passed over."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        result = shift = 0
        while True:
            byte = self._byte()
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
            shift += 7
            if shift > 63:
                raise ValueError("page header")

    def _integer(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def struct(self, depth: int) -> dict[int, Any]:
        """Return the fields of the struct that begins here. Raises IndexError where it goes on beyond the data."""
        fields: dict[int, Any] = {}
        number = 0
        while byte := self._byte():
            number = number + (byte >> 4) if byte >> 4 else self._integer()
            fields[number] = self._value(byte & 0x0F, depth, False)
        return fields

    def _value(self, kind: int, depth: int, in_list: bool) -> Any:
        if depth > 20:
            raise ValueError("page header")
        if kind in {_TRUE, _FALSE}:
            return self._byte() if in_list else kind
        if kind == _BYTE:
            return self._byte()
        if kind < _DOUBLE:
            return self._integer()
        if kind in {_DOUBLE, _BINARY}:
            length = 8 if kind == _DOUBLE else self._varint()
            self.at += length
        elif kind in {_LIST, _SET}:
            self._skip_list(depth)
        elif kind == _STRUCT:
            return self.struct(depth + 1)
        else:
            raise ValueError("page header")  # maps and unknown types are in no page header
        return None

    def _skip_list(self, depth: int) -> None:
        byte = self._byte()
        count = byte >> 4 if byte >> 4 < 15 else self._varint()
        for _ in range(count):
            self._value(byte & 0x0F, depth + 1, True)
