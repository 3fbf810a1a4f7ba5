"""Where a model may stop is told by its generation settings too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tunesmith.models.loading import load_tokenizer
from tunesmith.system.paths import DEMO_MODEL


def test_end_tokens_of_the_generation_settings_are_kept(tmp_path: Path) -> None:
    """Qwen2.5's config.json names one end token, its generation_config.json two: a model that never learned of the other runs on."""
    folder = shutil.copytree(DEMO_MODEL, tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))
    assert load_tokenizer(folder).eos_token_ids == {0, 2}
    assert load_tokenizer(DEMO_MODEL).eos_token_ids == {2}
