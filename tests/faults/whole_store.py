"""A small data folder with one or two of everything that is kept, and all that a fresh process reads of such a folder."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import orjson

from tests.adapters import add_adapter
from tunesmith.access.codes import AccessFile
from tunesmith.jobs.job import END, PROGRESS, JobFolders, read_job
from tunesmith.settings.files import read_yaml, to_yaml
from tunesmith.store.adapters import AdapterStore
from tunesmith.store.comparisons import Answer, Comparison, ComparisonStore, PromptSetStore, Round, Token
from tunesmith.store.datasets import DatasetStore
from tunesmith.store.experiments import Experiment, ExperimentStore
from tunesmith.store.files import LineTail, write_json
from tunesmith.store.run_folder import RunFolder
from tunesmith.store.saved_folders import MANIFEST, replaced_whole
from tunesmith.store.trash import thrown
from tunesmith.store.views import keep_view, read_view
from tunesmith.store.votes import ArenaStore
from tunesmith.training.config import TrainConfig

PERSON, PAGE = "ann", "experiments"
SHELVES = ("jobs", "evaluations")
WISHES = ("cancel", "pause", "resume")
TRASHED_RUN, TRASHED_ADAPTER = "thrown", "thrown-adapter"


def add_run(store: ExperimentStore, name: str, *statuses: str, **more: Any) -> Experiment:
    run = store.create(
        to_yaml(TrainConfig(model="demo", data="rows", name=name)), name=name, kind="train", method="sft", model="demo", data="rows",
        model_path="/models/demo", data_path="/data/rows", **more,
    )  # fmt: skip
    for status in statuses:
        run = store.transition(run, status)
    return run


def save_whole(target: Path, words: bytes) -> None:
    """Save a folder with a safetensors file of one tensor, which holds the words."""
    header = orjson.dumps({"a": {"dtype": "U8", "shape": [len(words)], "data_offsets": [0, len(words)]}})
    with replaced_whole(target) as folder:
        (folder / "adapters.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + words)
        (folder / "adapter_config.json").write_bytes(b"{}")


def write_rows(folder: Path, *rows: str) -> dict[str, Any]:
    """Write a split and return a version's record of it."""
    (folder / "train.jsonl").write_text("".join(f"{row}\n" for row in rows))
    return {"sha256_out": {"train": _digest(folder / "train.jsonl")}, "census": {}}


def make_comparison(comparison_id: str, text: str) -> Comparison:
    answer = Answer((Token(text, 1, -0.5),), "stop", 1.0, 0.1, "?", 1)
    return Comparison(comparison_id, 12.5, ({"key": "model:demo", "model_path": "/m"},), (Round("?", False, "", {"seed": 1}, (answer,)),))


def fill(data_dir: Path) -> None:
    """Make the folder."""
    store = ExperimentStore(data_dir)
    ended = add_run(store, "ended", "starting", "running", "completed")
    folder = store.folder(ended.id)
    save_whole(folder.adapter, b"first adapter")
    save_whole(folder.checkpoint(5), b"step 5")
    folder.metrics.write_bytes(b'{"step":1,"train_loss":2.5}\n{"step":2,"train_loss":1.5}\n')
    folder.write_outcome({"nonce": "first", "status": "completed"})
    store.rename(ended.id, "Ended")
    add_run(store, "waiting")
    store.trash(add_run(store, "thrown away", "starting", "failed").id)
    datasets = DatasetStore(data_dir)
    with datasets.staging() as staged:
        datasets.create("rows", staged, write_rows(staged, '{"text": "a"}'), {"title": {}})
    for name in ("kept", TRASHED_ADAPTER):
        add_adapter(data_dir, name, layers=(0,), rank=1)
    AdapterStore(data_dir).trash(TRASHED_ADAPTER)
    ComparisonStore(data_dir).save(make_comparison("20260101-000000-abcdef", "old"))
    PromptSetStore(data_dir).save("Questions", ["a", "b"])
    arenas = ArenaStore(data_dir)
    arenas.append(arenas.create("Arena", {"a": "A", "b": "B"}, 2, "", {}).id, {"kind": "vote", "number": 1})
    jobs = JobFolders(data_dir / "jobs")
    job = jobs.folder(jobs.create({"kind": "fuse", "name": "fused"}))
    write_json(job / PROGRESS, {"phase": "fusing", "share": 0.5, "seconds": 1.0})
    write_json(job / END, {"status": "completed", "result": {"adapter": "kept"}})
    JobFolders(data_dir / "evaluations")
    AccessFile(data_dir / "secrets").open()
    keep_view(data_dir, PERSON, PAGE, {"columns": ["name"]})
    (data_dir / "settings.yaml").write_text("language: ja\n")


def read_everything(data_dir: Path, torn_lines: int = 1) -> dict[str, Any]:
    """Return what fresh readers find; each complete folder is held against its manifest, each version against its digests.

    Of a log, at most so many lines may be torn.
    """
    return {
        **_read_experiments(data_dir, torn_lines), **_read_datasets(data_dir), **_read_beside(data_dir), "jobs": _read_jobs(data_dir),
        "settings": read_yaml(data_dir / "settings.yaml"), "view": read_view(data_dir, PERSON, PAGE), "codes": _read_codes(data_dir),
    }  # fmt: skip


def _read_experiments(data_dir: Path, torn_lines: int) -> dict[str, Any]:
    made = (data_dir / "store.json").exists()
    store = ExperimentStore(data_dir)
    listing = store.listing()
    runs = {
        run.id: {
            "record": dataclasses.asdict(run.experiment), "labels": run.labels, "settings": run.settings, "adapter": run.adapter,
            "place": store.queue_place(run.experiment), **_read_run(store.folder(run.id), torn_lines),
        }
        for run in listing.runs
    }  # fmt: skip
    assert [run.id for run in store.unsettled()] == [run_id for run_id, run in runs.items() if run["record"]["status"] != "completed"]
    trashed = {run.id: _read_run(RunFolder(store.trash_folder / run.id), torn_lines) for run in store.trashed()}
    return {"store": made and store.store_id, "runs": runs, "unreadable": list(listing.unreadable), "trashed": trashed}


def _read_run(folder: RunFolder, torn_lines: int) -> dict[str, Any]:
    saved = [each for name in ("checkpoints/step-*", "adapter", "begin", "best") for each in folder.path.glob(name)]
    return {
        "saved": {str(each.relative_to(folder.path)): _verified(each) for each in saved}, "steps": folder.checkpoint_steps(),
        "wishes": [kind for kind in WISHES if folder.has_request(kind)],
        "outcomes": [folder.read_outcome(nonce) for nonce in ("first", "second")], "metrics": _lines(folder.metrics, torn_lines),
        "events": _lines(folder.events, torn_lines), "rewards": {path.name: path.read_bytes() for path in folder.rewards.glob("*")},
    }  # fmt: skip


def _lines(path: Path, torn_lines: int) -> list[dict[str, Any]]:
    tail = LineTail(path)
    lines = list(tail.read_new())
    assert tail.bad_lines <= torn_lines, f"{path.name}: {tail.bad_lines} torn lines"
    return lines


def _verified(folder: Path) -> str:
    """Return the manifest of a saved folder, which must be whole."""
    told = (folder / MANIFEST).read_text()
    for name, facts in orjson.loads(told)["files"].items():
        assert _digest(folder / name) == facts["sha256"], f"{folder.name}/{name} does not match its manifest"
    return told


def _read_datasets(data_dir: Path) -> dict[str, Any]:
    store = DatasetStore(data_dir)
    found = {}
    for folder in store.folders():
        versions = store.versions(folder.name)
        for version in versions:
            for name, digest in version.record["sha256_out"].items():
                assert _digest(version.path / f"{name}.jsonl") == digest, f"{folder.name}@{version.number}/{name} is not what was written"
        found[folder.name] = [orjson.loads((folder / "dataset.json").read_bytes()), [version.record for version in versions]]
    trashed = sorted(path.name for path in thrown(store.root / ".trash"))
    return {"datasets": found, "datasets trashed": trashed}


def _read_beside(data_dir: Path) -> dict[str, Any]:
    adapters, comparisons = AdapterStore(data_dir), ComparisonStore(data_dir)
    prompts, arenas = PromptSetStore(data_dir), ArenaStore(data_dir)
    records, broken = arenas.all()
    assert not broken
    lines = {record.id: arenas.lines(record.id)[0] for record in records}
    return {
        "adapters": {each.id: [each, _digests(adapters.folder(each.id) / "adapter")] for each in adapters.all()},
        "comparisons": [comparisons.get(each) for each in comparisons.ids()], "prompts": prompts.all(), "arenas": records, "votes": lines,
        "beside trashed": sorted(path.name for name in ("adapters", "comparisons", "arena") for path in thrown(data_dir / name / ".trash")),
    }  # fmt: skip


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: _digest(path) for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_jobs(data_dir: Path) -> dict[str, Any]:
    jobs = [read_job(folder) for shelf in SHELVES for folder in JobFolders(data_dir / shelf).all()]
    return {job.id: dataclasses.asdict(job) | {"error": str(job.error), "folder": job.folder.name} for job in jobs}


def _read_codes(data_dir: Path) -> Any:
    file = AccessFile(data_dir / "secrets")
    return dataclasses.asdict(file.open()) if file.path.exists() else None
