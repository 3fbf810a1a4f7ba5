"""Rows that nothing can be measured on are told before the work: the job leaves nothing, so that it can be tried again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.adapters import add_adapter, write_adapter_files
from tunesmith.errors import UserError
from tunesmith.fusion.combining import Fusion, Source
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.parity import HeldOut, read_held_out
from tunesmith.jobs.work.fusing import fuse
from tunesmith.jobs.work.models import quantize
from tunesmith.models.loading import load_tokenizer
from tunesmith.store.adapters import AdapterStore
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.system.progress import silent

ROW = {"messages": [{"role": "user", "content": "What is the code of box 3?"}, {"role": "assistant", "content": "It is 21."}]}
ALPACA = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n{% endfor %}"
UNMEASURABLE = pytest.mark.parametrize("code", ["model_without_chat_template", "dataset_without_split"])


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "valid.jsonl").write_bytes(orjson.dumps(ROW))
    return folder


@pytest.fixture
def bare_model(tmp_path: Path) -> Path:
    """Return the shipped model without a prompt format."""
    model = shutil.copytree(DEMO_MODEL, tmp_path / "bare")
    (model / "chat_template.jinja").unlink(missing_ok=True)
    settings = orjson.loads((model / "tokenizer_config.json").read_bytes())
    settings.pop("chat_template", None)
    (model / "tokenizer_config.json").write_bytes(orjson.dumps(settings))
    return model


def unmeasurable(code: str, rows: Path, bare_model: Path) -> Path:
    """Return the model on which the rows cannot be measured."""
    if code == "model_without_chat_template":
        return bare_model
    (rows / "valid.jsonl").rename(rows / "train.jsonl")
    return DEMO_MODEL


def to_quantize(model: Path, rows: Path, target: Path, adapter: Path | None = None) -> dict[str, Any]:
    return {
        "model_path": str(model), "adapter_path": str(adapter or ""), "target_path": str(target), "data_path": str(rows), "name": "small",
        "lineage": {}, "rules": {"bits": 4, "group_size": 64},
    }  # fmt: skip


@UNMEASURABLE
def test_nothing_is_quantised_that_cannot_be_measured(rows: Path, bare_model: Path, tmp_path: Path, code: str) -> None:
    model, target = unmeasurable(code, rows, bare_model), tmp_path / "made" / "small"
    with pytest.raises(UserError) as caught:
        quantize(to_quantize(model, rows, target), silent)
    assert caught.value.code == code
    assert not target.exists()


def test_an_adapters_prompt_format_is_enough_to_measure_by(rows: Path, bare_model: Path, tmp_path: Path) -> None:
    """Also as the first model that is ever made: the folder of models is not there yet."""
    adapter = write_adapter_files(tmp_path / "adapter", chat_template=ALPACA)
    made = quantize(to_quantize(bare_model, rows, tmp_path / "made" / "small", adapter), silent)
    assert made["perplexity"] > 1
    assert (tmp_path / "made" / "small").is_dir()


@UNMEASURABLE
@pytest.mark.parametrize("target", ["adapter", "model"])
def test_nothing_is_fused_that_cannot_be_measured(rows: Path, bare_model: Path, tmp_path: Path, code: str, target: str) -> None:
    model, data_dir = unmeasurable(code, rows, bare_model), tmp_path / "store"
    records = [add_adapter(data_dir, name, seed) for seed, name in enumerate(("one", "two"))]
    folders = [{"name": record.name, "folder": str(AdapterStore(data_dir).root / record.id / "adapter")} for record in records]
    request = {
        "adapters": folders, "model": "bare", "model_path": str(model), "rules": {"weights": [0.5, 0.5]}, "target": target, "name": "both",
        "lineage": {}, "data_dir": str(data_dir), "data_path": str(rows), "target_path": str(tmp_path / "made" / "both"),
    }  # fmt: skip
    with pytest.raises(UserError) as caught:
        fuse(request, silent)
    assert caught.value.code == code
    assert {record.name for record in AdapterStore(data_dir).all()} == {"one", "two"}
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("learned", "begin"), [((ALPACA, ALPACA), "### user:\nWhat"), ((ALPACA, None), "<|im_start|>"), ((None, None), "<|im_start|>")]
)
def test_losses_are_measured_in_the_format_that_the_adapters_learned(
    rows: Path, tmp_path: Path, learned: tuple[str | None, str | None], begin: str
) -> None:
    """The base has a format of its own; where the adapters differ it is measured in that."""
    folders = [
        write_adapter_files(tmp_path / str(place), seed=place, **({"chat_template": template} if template else {}))
        for place, template in enumerate(learned)
    ]
    fusion = Fusion(DEMO_MODEL, [Source(folder.name, folder) for folder in folders], FusionRules(weights=(0.5, 0.5)))
    (encoded,) = read_held_out(fusion, HeldOut(rows))
    assert load_tokenizer(DEMO_MODEL).decode(encoded.ids).startswith(begin)
