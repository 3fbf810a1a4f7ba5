"""Where things lie, and the only way in for a name that a person gave. Knows no store and no model."""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from tunesmith.errors import UserError

LONGEST_FILE_NAME = 200  # bytes; file systems take 255, and a temporary name is longer than its file's
REPOSITORY = Path(__file__).resolve().parents[3]
DEMO_MODEL = REPOSITORY / "demo" / "model"
DEMO_DATA = REPOSITORY / "demo" / "data"
DEMO_TASKS = REPOSITORY / "demo" / "tasks"
CONFIG = REPOSITORY / "config"
WSL_DRIVES = Path("/mnt")
_QUOTES = {('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("「", "」")}
_FILE_ADDRESS = re.compile(r"file:(?://([^/]*))?(/.*)", re.DOTALL | re.IGNORECASE)
_DRIVE = re.compile(r"/?([A-Za-z]):[\\/](.*)", re.DOTALL)
_SHARE = re.compile(r"(?:\\\\|//)([^\\/]+)[\\/]+([^\\/]+)(.*)", re.DOTALL)


def home_folder() -> Path:
    """Return the app's own folder: `TUNESMITH_DATA_DIR`, or the place that the system keeps for app data."""
    if chosen := os.environ.get("TUNESMITH_DATA_DIR"):
        return Path(chosen).expanduser().resolve()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Tunesmith"
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "tunesmith"


def typed_path(text: str) -> Path:
    """Return the path that a person typed or pasted: without quotes, `file://` and space around it, `~` as the home folder.

    Under WSL a path of Windows is where that file is seen here: `C:\\x` at `/mnt/c/x`, `\\\\wsl$\\<this system>\\x` at `/x`.
    Raises UserError `path_of_windows` for those that are not seen here, `name_not_allowed` for one with a null character.
    """
    plain = text.strip()
    while len(plain) > 1 and (plain[0], plain[-1]) in _QUOTES:
        plain = plain[1:-1].strip()
    if address := _FILE_ADDRESS.fullmatch(plain):
        host, plain = (address[1] or "").lower(), unquote(address[2])
        plain = plain if host in {"", "localhost"} else f"\\\\{host}{plain}"
    if "\0" in plain:
        raise UserError("name_not_allowed", name=plain[:100])
    if drive := _DRIVE.fullmatch(plain):
        return _under(WSL_DRIVES / drive[1].lower(), drive[2], plain)
    if plain.startswith("\\\\") or plain.lower().startswith(("//wsl$/", "//wsl.localhost/")):
        share = _SHARE.fullmatch(plain)
        own = share and share[1].lower() in {"wsl$", "wsl.localhost"} and share[2].lower() == os.environ.get("WSL_DISTRO_NAME", "").lower()
        return _under(Path("/") if own else None, share[3] if share else "", plain)
    path = Path(plain)
    with suppress(RuntimeError):  # `~nobody` is the name of a folder like any other
        path = path.expanduser()
    return path


def _under(root: Path | None, rest: str, typed: str) -> Path:
    """Return where Windows' part of a path is seen in WSL. Raises UserError `path_of_windows`."""
    if not root or not _in_wsl() or not root.is_dir():
        raise UserError("path_of_windows", path=typed[:200])
    return root.joinpath(*(part for part in re.split(r"[\\/]+", rest) if part))


def _in_wsl() -> bool:
    return "WSL_DISTRO_NAME" in os.environ or "microsoft" in platform.release().lower()


def as_file_name(words: str, otherwise: str) -> str:
    """Return a name for a file or folder made from a person's words; `otherwise` where nothing of them is left."""
    words = words.encode("utf-8", "ignore").decode()  # half characters are none
    return re.sub(r"[^\w-]+", "-", words, flags=re.UNICODE).strip("-_").lower()[:60] or otherwise


def bare_name(name: str, otherwise: str) -> str:
    """Return the last part of a file's name as somebody's computer gave it, fit to be a file's name here; its end is kept."""
    last = name.replace("\\", "/").rpartition("/")[2].encode("utf-8", "ignore").decode()
    visible = "".join(c for c in last if c.isprintable())
    return visible.encode()[-LONGEST_FILE_NAME:].decode("utf-8", "ignore").strip().lstrip(".") or otherwise


def resolve_under(root: Path, name: str) -> Path:
    """Return `root / name`, a direct child of root. Raises UserError `name_not_allowed` for anything that leads elsewhere."""
    allowed = name not in {"", ".", ".."} and not any(c in name for c in "/\\\0") and not name.startswith(".")
    if not allowed or not 0 < len(name.encode("utf-8", "ignore")) <= LONGEST_FILE_NAME or not name.isprintable():
        raise UserError("name_not_allowed", name=name[:100])
    path = root / name
    try:
        inside = path.resolve().parent == root.resolve()
    except (OSError, RuntimeError):  # a link to itself
        inside = False
    if not inside:
        raise UserError("name_not_allowed", name=name)
    return path
