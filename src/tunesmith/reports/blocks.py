"""What a report is made of, and how it is written down: as Markdown with pictures beside it, or as one HTML page. Knows no runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tunesmith.i18n.markdown import as_text


@dataclass(frozen=True)
class Heading:
    """A heading below the title."""

    words: str


@dataclass(frozen=True)
class Paragraph:
    """A piece of text; `strong` for a verdict."""

    words: str
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells below a line of headers; `head` of empty strings is left out of the page."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """An SVG document, the name of its file, and what it shows."""

    file: str
    title: str
    svg: str


@dataclass(frozen=True)
class Code:
    """Text that is kept as it is."""

    language: str
    text: str


Block = Heading | Paragraph | Table | Picture | Code


@dataclass(frozen=True)
class Report:
    """A title and what follows it."""

    title: str
    blocks: Sequence[Block]

    @property
    def pictures(self) -> list[Picture]:
        """The pictures in their order."""
        return [block for block in self.blocks if isinstance(block, Picture)]


PICTURES = "pictures"
_PAGE_STYLE = """
:root { color-scheme: light dark; --ink: #1c2333; --ground: #fbfbfd; --line: #d9deea; --soft: #f0f2f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9f2; --ground: #12151d; --line: #323a4d; --soft: #1b202c; } }
body { font: 16px/1.55 system-ui, -apple-system, "Hiragino Sans", "Noto Sans CJK JP", sans-serif;
  color: var(--ink); background: var(--ground); max-width: 880px; margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.8rem; margin: 0 0 .6rem; overflow-wrap: anywhere; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .7rem .4rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; white-space: nowrap; } td { white-space: pre-wrap; overflow-wrap: anywhere; min-width: 5rem; }
pre { background: var(--soft); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
figure { margin: 1rem 0; } svg { width: 100%; height: auto; border: 1px solid var(--line); border-radius: 8px; }
@media print { body { margin: 0; max-width: none; } pre { white-space: pre-wrap; } figure, tr { break-inside: avoid; } }
"""


def to_markdown(report: Report) -> str:
    """Return the report as Markdown (GitHub's), its pictures in a folder beside it."""
    return "\n\n".join([f"# {as_text(report.title)}", *(_markdown(block) for block in report.blocks)]) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"## {as_text(block.words)}"
    if isinstance(block, Paragraph):
        words = as_text(block.words).replace("\n", "  \n")
        return f"**{words}**" if block.strong else words
    if isinstance(block, Picture):
        return f"![{as_text(block.title)}]({PICTURES}/{block.file})"
    if isinstance(block, Code):
        longest = max((len(run) for run in re.findall(r"`+", block.text)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}{block.language}\n{block.text.rstrip()}\n{fence}"
    lines = [block.head, ("---",) * len(block.head), *block.rows]
    return "\n".join(f"| {' | '.join(cell if cell == '---' else _cell(cell) for cell in line)} |" for line in lines)


def _cell(words: str) -> str:
    return as_text(words).replace("\r", "").replace("\n", "<br>")


def to_html(report: Report, lang: str) -> str:
    """Return the report as one page that needs nothing beside it: no script, no other address."""
    body = "\n".join(_html(block) for block in report.blocks)
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(lang)}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(report.title)}</title>\n<style>{_PAGE_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(report.title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h2>{escape(block.words)}</h2>"
    if isinstance(block, Paragraph):
        words = escape(block.words).replace("\n", "<br>")
        return f"<p><strong>{words}</strong></p>" if block.strong else f"<p>{words}</p>"
    if isinstance(block, Picture):
        return f"<figure>{block.svg}</figure>"
    if isinstance(block, Code):
        return f"<pre>{escape(block.text.rstrip())}</pre>"
    head = "".join(f"<th>{escape(cell)}</th>" for cell in block.head)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in block.rows)
    return f'<div class="table"><table>{f"<thead><tr>{head}</tr></thead>" if any(block.head) else ""}<tbody>{rows}</tbody></table></div>'
