"""What the pages of a Parquet file unpack to, by their own headers: the footer's sizes are what a writer says. Reads no values.

The footer is read here too: pyarrow ends the process where the metadata of a column chunk is damaged (its binding of
`RowGroupMetaData::ColumnChunk` catches no exception). Format: https://github.com/apache/parquet-format in Thrift's compact protocol.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

_MOST_FOOTER_BYTES = 8_000_000
_HEADER_BYTES = 8192
_MOST_HEADER_BYTES = 1_000_000
_KINDS = {2: "indices", 8: "indices", 7: "prefixed"}  # encodings PLAIN_DICTIONARY, RLE_DICTIONARY, DELTA_BYTE_ARRAY
_CODECS = {0: "", 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12


@dataclass(frozen=True)
class Page:
    """A page's place and size in the file, its size in memory and its number of values."""

    start: int
    packed_bytes: int
    size_bytes: int
    values: int
    kind: str  # "dictionary", "indices" into it, "prefixed" by the value before, "plain" and all others


@dataclass(frozen=True)
class Chunk:
    """Where the pages of a column lie in the file."""

    start: int
    end: int
    codec: str


def column_chunks(file: IO[bytes]) -> list[list[Chunk]]:
    """Return the column chunks of each row group. Raises ValueError for a broken footer, MemoryError for one that is too long."""
    end = file.seek(0, 2)
    file.seek(max(0, end - 8))
    length = int.from_bytes(file.read(4), "little")
    if length > min(_MOST_FOOTER_BYTES, end - 8):
        raise MemoryError("footer")
    file.seek(end - 8 - length)
    try:
        footer = _Compact(file.read(length)).struct(0)
        return [[_chunk(column[3]) for column in group[1]] for group in footer[4]]
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError("footer") from error


def _chunk(column: dict[int, Any]) -> Chunk:
    start, dictionary = column[9], column.get(11, 0)
    if 0 < dictionary < start:
        start = dictionary
    return Chunk(start, start + column[7], _CODECS.get(column[4], "unknown"))


def chunk_pages(file: IO[bytes], chunk: Chunk) -> Iterator[Page]:
    """Yield the pages of a column chunk. Raises ValueError for broken headers."""
    start = chunk.start
    while start < chunk.end:
        header, size = _read_header(file, start)
        packed, unpacked = header.get(3, -1), header.get(2, -1)
        if not isinstance(packed, int) or not isinstance(unpacked, int) or packed < 0 or unpacked < 0:
            raise ValueError("page header")
        body = header.get(5) or header.get(8) or header.get(7) or {}
        kind = "dictionary" if 7 in header else _KINDS.get(body.get(4 if 8 in header else 2, -1), "plain")
        yield Page(start + size, packed, unpacked, max(0, body.get(1, 0)), kind)
        start += size + packed


def longest_text(file: IO[bytes], chunk: Chunk, page: Page) -> int:
    """Return the bytes of the longest text in a dictionary's page; the page's own size where it cannot be told."""
    if chunk.codec == "unknown":
        return page.size_bytes
    file.seek(page.start)
    data = file.read(page.packed_bytes)
    if chunk.codec:
        arrow: Any = importlib.import_module("pyarrow")
        data = arrow.decompress(data, decompressed_size=page.size_bytes, codec=chunk.codec, asbytes=True)
    longest = at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        longest = max(longest, length)
        at += 4 + length
    return longest


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
    """Reads a Thrift struct into {field number: integer, struct or list}; texts are passed over."""

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
            return self._list(depth)
        elif kind == _STRUCT:
            return self.struct(depth + 1)
        else:
            raise ValueError("page header")  # maps and unknown types are in no page header
        return None

    def _list(self, depth: int) -> list[Any]:
        byte = self._byte()
        count = byte >> 4 if byte >> 4 < 15 else self._varint()
        if count > len(self._data):
            raise IndexError
        return [self._value(byte & 0x0F, depth + 1, True) for _ in range(count)]
