"""A real run whose disk fills up: a small file system of its own, real worker and supervisor. Skipped where nothing may be mounted."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from tests.jobs.conftest import wait_for
from tunesmith.errors import UserError
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.settings.files import to_yaml
from tunesmith.store.experiments import Experiment, ExperimentStore
from tunesmith.store.files import LineTail
from tunesmith.store.locks import is_held
from tunesmith.system.memory import RESERVE_BYTES
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.training.config import LoraParameters, TrainConfig

Submit = Callable[..., Experiment]
ROOM_BYTES = 30_000_000  # beside what checkpoints want left


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={RESERVE_BYTES + ROOM_BYTES}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """Take all space; return the file that holds it."""
    filler = folder / "filler"
    piece = bytes(1_000_000)
    with filler.open("wb", buffering=0) as stream:
        while piece:
            try:
                written = stream.write(piece)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece = piece[: len(piece) // 2]
            else:
                assert written
    return filler


@pytest.mark.slow
@pytest.mark.parametrize("who", ["the same supervisor", "the next supervisor"])
def test_a_run_whose_disk_fills_up_has_failed_for_want_of_space(small_disk: Path, data_path: Path, who: str) -> None:
    store = ExperimentStore(small_disk / "data")
    config = TrainConfig(
        model="demo", data="rows", iters=100_000, batch_size=2, steps_per_report=1, steps_per_eval=100_000, save_every=5, max_seq_length=64,
        lora_parameters=LoraParameters(rank=2),
    )  # fmt: skip
    run = store.create(
        to_yaml(config), name="fills up", kind="train", method="sft", model="demo", data="rows", model_path=str(DEMO_MODEL),
        data_path=str(data_path),
    )  # fmt: skip
    folder = store.folder(run.id)
    supervisor = Supervisor(store)
    supervisor.start()
    try:
        wait_for(lambda: folder.newest_checkpoint_step() is not None)
        filler = fill_up(small_disk)
        wait_for(lambda: not is_held(store.run_lock(run.id)))
        time.sleep(1)
        assert ExperimentStore(store.root).get(run.id).status in {"running", "failed"}
        assert ExperimentStore(store.root).all()[1] == []
        if who == "the next supervisor":
            supervisor.close()
        filler.unlink()
        if who == "the next supervisor":
            supervisor = Supervisor(ExperimentStore(store.root))
            supervisor.start()
        wait_for(lambda: store.get(run.id).status == "failed")
        error = store.get(run.id).error
        assert error is not None
        assert error["code"] in {"disk_full", "disk_nearly_full"}
        assert [path.name for path in folder.path.rglob(".*") if path.suffix in {".tmp", ".new", ".old"}] == []
        tail = LineTail(folder.metrics)
        steps = [line["step"] for line in tail.read_new()]
        assert steps == sorted(steps)
        assert tail.bad_lines == 0
        assert folder.newest_checkpoint_step() in steps
    finally:
        supervisor.close()


def test_a_stop_is_heard_on_a_full_disk(small_disk: Path, data_path: Path) -> None:
    store = ExperimentStore(small_disk / "data")
    run = store.create(
        to_yaml(TrainConfig(model="demo", data="rows")), name="waits", kind="train", method="sft", model="demo", data="rows",
        model_path=str(DEMO_MODEL), data_path=str(data_path),
    )  # fmt: skip
    supervisor = Supervisor(store, may_start=lambda: False)
    supervisor.start()
    try:
        filler = fill_up(small_disk)
        store.folder(run.id).request("cancel")
        with pytest.raises(UserError, match="disk_full"):
            store.rename(run.id, "no room for a name")
        assert os.statvfs(small_disk).f_bavail == 0
        filler.unlink()
        wait_for(lambda: store.get(run.id).status == "cancelled")
        assert orjson.loads(store.folder(run.id).record.read_bytes())["status"] == "cancelled"
    finally:
        supervisor.close()
