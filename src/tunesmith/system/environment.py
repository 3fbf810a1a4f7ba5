"""What a helper process may see of our environment: no tokens, no keys, no model hub; whose session this is, which code this is."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("tunesmith", "mlx", "mlx-lm", "transformers", "streamlit", "plotly")
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "USER", "TZ", "PYTHONPATH")
_OWN = ("TUNESMITH_DATA_DIR", "TUNESMITH_LIBLLAMA", "PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE")
_PASSED_PREFIXES = ("LC_", "MLX_", "OMP_", "OPENBLAS_", "CUDA_", "AGX_")
_SECRET = re.compile("KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH")


def package_versions() -> dict[str, str]:
    """Return the versions of what our results depend on, empty for a package that is not there."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def source_commit(repository: Path) -> str:
    """Return the commit that a checkout stands at, empty where there is none (an installed package)."""
    git = repository / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        if (git / reference).is_file():
            return (git / reference).read_text(encoding="utf-8").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return next((line.split()[0] for line in packed if line.endswith(f" {reference}")), "")


def user_name() -> str:
    """Return the name of the person whose account this is, empty where the system has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def worker_environment(source: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker or host process: known names, and none that a secret would have."""
    kept = {k: v for k, v in source.items() if k in (*_PASSED_ON, *_OWN) or (k.startswith(_PASSED_PREFIXES) and not _SECRET.search(k))}
    return kept | {
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",  # else huggingface_hub tells the hub what else is installed
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "AGX_RELAX_CDM_CTXSTORE_TIMEOUT": "1",  # else macOS kills long Metal work while the display is on
    }
