"""Sizes, layers, and what the page process may hold: rules that a reader relies on."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src/tunesmith").rglob("*.py"))
PAGES = sorted((ROOT / "pages").glob("*.py"))
DRAWING = ("streamlit", "plotly")

RENDER_EVERY_PAGE = """
import sys
from pathlib import Path
from streamlit.testing.v1 import AppTest
from tunesmith.ui.frame import MAIN_SCRIPT, PAGES
app = AppTest.from_file(str(MAIN_SCRIPT), default_timeout=120).run()
assert not app.exception
for pages in PAGES.values():
    for name, _ in pages:
        if name != "home":
            app.switch_page(str(Path.cwd() / "pages" / f"{name}.py")).run()
        assert app.title and not app.exception, name
from tunesmith.services.context import open_services
open_services().close()
print(sorted({m.split(".")[0] for m in sys.modules} & {"mlx", "mlx_lm", "transformers", "torch", "safetensors"}))
"""


def line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_pages_are_short_and_files_are_readable() -> None:
    assert len(PAGES) >= 7
    assert not {path.name: line_count(path) for path in PAGES if line_count(path) > 120}
    assert not {str(path.relative_to(ROOT)): line_count(path) for path in SOURCES if line_count(path) > 400}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_only_draws(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    deeper = {"jobs", "models", "system", "training"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tunesmith."):
            assert node.module.split(".")[1] not in deeper, f"{path.name} reaches past the services: {node.module}"


def test_only_the_ui_draws() -> None:
    wrong = [
        str(p.relative_to(ROOT)) for p in SOURCES if "ui" not in p.relative_to(ROOT / "src/tunesmith").parts and imported(p) & {*DRAWING}
    ]
    assert not wrong


def test_files_for_the_browser_are_offered_in_one_way() -> None:
    """A button that draws the page again withdraws, meanwhile, the files of all others: a second press found nothing (ui/downloads.py)."""
    wrong = [p.name for p in [*SOURCES, *PAGES] if p.name != "downloads.py" and ".download_button(" in p.read_text("utf-8")]
    assert not wrong


def test_every_file_says_what_it_does() -> None:
    silent = [p for p in [*SOURCES, *PAGES, ROOT / "app.py"] if p.stat().st_size and not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert not silent


def test_pages_never_import_the_engine(data_dir: Path) -> None:
    environment = os.environ | {"TUNESMITH_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-W", "ignore", "-c", RENDER_EVERY_PAGE]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", sorted((ROOT / "src/tunesmith/store").glob("*.py")), ids=lambda path: path.stem)
def test_the_store_writes_no_file_in_place(path: Path) -> None:
    """A kill in the middle would leave half of it: `files.py` writes beside and renames, or appends whole lines."""
    in_place = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        modes = [arg.value for arg in [*node.args, *(k.value for k in node.keywords)] if isinstance(arg, ast.Constant)]
        if name in {"write_text", "write_bytes"} or (name == "open" and any(isinstance(m, str) and set(m) & set("wax+") for m in modes)):
            in_place.append(f"{path.name}:{node.lineno}")
    assert in_place == []
