"""Rows from Excel workbooks. Imports openpyxl only when it reads one."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from tunesmith.data.formats import Problem
from tunesmith.data.readers.archives import broken
from tunesmith.data.readers.cells import cells_row
from tunesmith.data.readers.json_values import Item
from tunesmith.data.readers.meter import Meter
from tunesmith.data.readers.tables import name_columns, repeated_columns
from tunesmith.data.readers.workbook_parts import check_parts
from tunesmith.errors import UserError

_MOST_ROWS = 1_048_576  # Excel's own limit


def excel_rows(file: IO[bytes], meter: Meter) -> Iterator[Item]:
    """Yield the rows of an Excel file's first sheet under its header row, by the sheet's row numbers.

    Raises UserError `data_needs_extra` (file, extra) where openpyxl is not installed, `data_file_broken`, `data_file_empty`,
    `data_header_missing`, `data_too_large`, `data_needs_too_much_memory`, `data_too_slow`.
    """
    with _excel_errors(meter.file):
        check_parts(file, meter)
        try:
            openpyxl: Any = importlib.import_module("openpyxl")
        except ImportError as error:
            raise UserError("data_needs_extra", file=meter.file, extra="excel") from error
        file.seek(0)
        sheet = openpyxl.load_workbook(file, read_only=True, data_only=True).worksheets[0]
        sheet.reset_dimensions()  # the declared size may be wrong, and hostile
        records = enumerate(sheet.iter_rows(values_only=True), start=1)
    header: list[str] = []
    while True:
        with _excel_errors(meter.file):
            number, cells = next(records, (0, ()))
            if number > _MOST_ROWS:
                raise ValueError(f"row {number}")
        if not number:
            break
        meter.check_time()
        if all(cell is None for cell in cells):
            continue
        if not header:
            if not all(cell is None or isinstance(cell, str) for cell in cells):
                raise UserError("data_header_missing", file=meter.file, columns=len(cells))
            header = name_columns([cell or "" for cell in cells])
            yield from repeated_columns(number, header)
        else:
            yield _excel_row(number, header, list(cells), meter.budget.field_bytes)
    if not header:
        raise UserError("data_file_empty", file=meter.file)


def _excel_row(number: int, header: list[str], cells: list[Any], most_bytes: int) -> Item:
    while len(cells) > len(header) and cells[-1] is None:
        cells.pop()
    if len(cells) > len(header):
        return Problem(number, "", "uneven_row", {"column": len(header) + 1, "found": len(cells), "expected": len(header)})
    cells += [None] * (len(header) - len(cells))  # Excel leaves out empty cells at the end of a row
    return cells_row(number, dict(zip(header, cells, strict=True)), most_bytes)


@contextmanager
def _excel_errors(file: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl tells of what it leaves out: styles, lists of choices
            yield
    except UserError:
        raise
    except (Exception, MemoryError) as error:  # openpyxl's readers raise whatever their XML provokes
        raise broken(file, error) from error
