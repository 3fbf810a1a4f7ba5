"""Runs of other tools as ended experiments: curves, settings that mean the same here, no half of anything."""

from __future__ import annotations

import io
import os
from pathlib import Path

import orjson
import pytest

from tests.unit.data.test_training_logs import BEFORE_0_32, REAL_OUTPUT
from tunesmith.errors import UserError
from tunesmith.reports.files import write_report
from tunesmith.services import experiments, run_imports, runs, uploads
from tunesmith.services.context import Services


def test_the_output_of_mlx_lm_becomes_an_experiment(services: Services) -> None:
    run = run_imports.import_log(services, REAL_OUTPUT, model="demo")
    state, record = runs.snapshot(services, run.id), services.store.get(run.id)
    assert (state.status, state.name, state.method, state.model, state.adapter) == ("completed", "mlx_lm_0_32", "sft", "demo", False)
    assert (state.step, state.iters, state.train_loss, state.val_loss, state.best_val_loss) == (12, 12, 1.808, 2.454, 1.145)
    assert not state.resumable
    assert (record.imported["source"], record.imported["file"]) == ("mlx-lm", "mlx_lm_0_32.txt")
    assert services.store.folder(run.id).log.read_bytes() == REAL_OUTPUT.read_bytes()
    (row,) = experiments.table(services)
    assert (row.final_loss, row.best_val_loss) == (1.808, 1.145)
    assert write_report(services, [run.id], "en").pictures


def test_a_loss_that_is_no_number_stays_one(services: Services, tmp_path: Path) -> None:
    path = tmp_path / "old.log"
    path.write_text(BEFORE_0_32)
    os.utime(path, (1e9, 1e9))
    run = run_imports.import_log(services, path, name="before")
    lines = [orjson.loads(line) for line in services.store.folder(run.id).metrics.read_bytes().splitlines()]
    assert (lines[-1]["step"], lines[-1]["train_loss"], lines[-1]["nonfinite"]) == (20, None, {"train_loss": "nan"})
    assert services.store.get(run.id).created_at == 1e9
    state = runs.snapshot(services, run.id)
    assert (state.name, state.iters, state.config.learning_rate) == ("before", 600, 1e-5)


def test_settings_beside_the_adapter_are_taken_where_they_mean_the_same(services: Services, tmp_path: Path) -> None:
    adapter = tmp_path / "adapters"
    adapter.mkdir()
    settings = {
        "model": "org/base", "data": "my data", "batch_size": 2, "num_layers": 3, "optimizer": "adamw", "seed": -5, "iters": "many",
        "lr_schedule": {"name": "cosine_decay"}, "lora_parameters": {"rank": 16, "scale": 10.0, "dropout": "x"}, "learning_rate": 2e-5,
    }  # fmt: skip
    (adapter / "adapter_config.json").write_bytes(orjson.dumps(settings))
    run = run_imports.import_log(services, REAL_OUTPUT, model="demo", adapter=adapter)
    config = runs.snapshot(services, run.id).config
    assert (config.batch_size, config.num_layers, config.optimizer, config.learning_rate) == (2, 3, "adamw", 2e-5)
    assert (config.lora_parameters.rank, config.lora_parameters.scale, config.lora_parameters.dropout) == (16, 10.0, 0.0)
    assert (config.seed, config.iters) == (0, 12), "what is no value of ours is left out"
    assert services.store.get(run.id).data == "my data"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "nobody's"}, "model_unknown"),
        ({"name": "x" * 201}, "name_too_long"),
        ({"adapter": Path("/nowhere/at/all")}, "file_missing"),
        ({"adapter": Path(__file__).parent}, "import_adapter_needs_model"),
    ],
)
def test_what_cannot_be_taken_in_leaves_nothing(services: Services, changes: dict[str, object], code: str) -> None:
    with pytest.raises(UserError) as caught:
        run_imports.import_log(services, REAL_OUTPUT, **changes)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert not list(services.store.experiments.iterdir())


def test_an_upload_keeps_its_name_and_no_more(services: Services) -> None:
    path = uploads.hold(services, [("../../日本 語.LOG", io.BytesIO(b"x"))])
    assert path.parent.parent == services.data_dir / "uploads"
    assert (path.name, path.read_bytes()) == ("日本 語.LOG", b"x")
    assert uploads.hold(services, [("..", io.BytesIO(b"x"))]).name == "data"


def test_a_very_long_plan_fits_the_settings(services: Services, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("step,loss\n99999999,1.5\n")
    state = runs.snapshot(services, run_imports.import_log(services, path).id)
    assert (state.step, state.config.iters) == (99_999_999, 1_000_000)
