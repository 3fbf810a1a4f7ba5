"""The files of a form (multipart/form-data, RFC 7578) go to a folder while they come; none of them is held in memory. Knows no server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tunesmith.errors import UserError
from tunesmith.system.paths import bare_name


class FormFiles:
    """Feed it the body, then `finish` it. Files that are not wanted, by their names, are passed over; fields too."""

    def __init__(self, content_type: str, folder: Path, wanted: Callable[[str], bool], most_bytes: int) -> None:
        """Raises UserError `form_broken` where the content is none of a form."""
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise UserError("form_broken")
        self.names: list[str] = []
        self._folder, self._wanted, self._most_bytes, self._count, self._ended = folder, wanted, most_bytes, 0, False
        self._header, self._disposition = (b"", b""), b""
        self._file: BinaryIO | None = None
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin, "on_header_field": self._add_name, "on_header_value": self._add_value,
                "on_header_end": self._end_header, "on_headers_finished": self._open, "on_part_data": self._write,
                "on_part_end": self.close, "on_end": self._end,
            },
        )  # fmt: skip

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body. Raises UserError `form_broken`, `upload_too_large`, `upload_file_twice`, OSError."""
        self._count += len(piece)
        if self._count > self._most_bytes:
            raise UserError("upload_too_large", largest_bytes=self._most_bytes)
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise UserError("form_broken") from error

    def finish(self) -> None:
        """Take note that the body has ended. Raises UserError `form_broken` where the form has not."""
        self.close()
        if not self._ended:
            raise UserError("form_broken")

    def close(self) -> None:
        """Let go of the file that is being written."""
        if self._file:
            self._file.close()
        self._file = None

    def _begin(self) -> None:
        self._header, self._disposition = (b"", b""), b""

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], b"")

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _end_header(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = (b"", b"")

    def _open(self) -> None:
        given = parse_options_header(self._disposition)[1].get(b"filename", b"")
        name = bare_name(given.decode("utf-8", "replace"), "")
        if not name or not self._wanted(name):
            return
        if name in self.names:
            raise UserError("upload_file_twice", file=name)
        self._file = (self._folder / name).open("xb")
        self.names.append(name)

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._file:
            self._file.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self._ended = True
