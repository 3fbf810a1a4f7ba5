"""Every record × every kind of damage: the lists open and have all others, the damaged one is named, a future one is left as it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.faults.state_paths import services_of
from tunesmith import cli
from tunesmith.errors import UserError
from tunesmith.services import (
    adapters,
    arena,
    compare,
    context,
    damage,
    datasets,
    evaluations,
    experiments,
    home,
    jobs,
    prompt_sets,
    queue,
    run_settings,
    runs,
    serving,
    synthesis,
)  # fmt: skip
from tunesmith.services.context import Services
from tunesmith.store.experiments import ExperimentStore

LARGE_BYTES = 100_000_000
Damage = Callable[[Path, bytes], object]


def _folder(path: Path, content: bytes) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, content: bytes) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _link_to_itself(path: Path, content: bytes) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _pipe(path: Path, content: bytes) -> None:
    path.unlink()
    os.mkfifo(path)


def _large(path: Path, content: bytes) -> None:
    os.truncate(path, LARGE_BYTES)


def _other_fields(path: Path, content: bytes) -> None:
    record = orjson.loads(content) if path.suffix == ".json" else {}
    path.write_bytes(orjson.dumps({key: [] for key in record} | {"schema_version": 1}))


def _future(path: Path, content: bytes) -> None:
    path.write_bytes(orjson.dumps({"schema_version": 999, "v": 999, "everything": "is different"}))


DAMAGES: dict[str, Damage] = {
    "empty": lambda path, _: path.write_bytes(b""),
    "NULs": lambda path, content: path.write_bytes(bytes(len(content))),
    "truncated": lambda path, content: path.write_bytes(content[: len(content) // 2]),
    "list": lambda path, _: path.write_bytes(b"[]"),
    "text": lambda path, _: path.write_bytes(b'"text"'),
    "number": lambda path, _: path.write_bytes(b"7"),
    "null": lambda path, _: path.write_bytes(b"null"),
    "no fields": lambda path, _: path.write_bytes(b"{}"),
    "other fields": _other_fields,
    "deep": lambda path, _: path.write_bytes(b"[" * 3_000),
    "no UTF-8": lambda path, _: path.write_bytes(b"\xff\xfe{\x80"),
    "future": _future,
    "large": _large,
    "folder": _folder,
    "link": _link,
    "link to itself": _link_to_itself,
    "pipe": _pipe,
}
NAMED = {  # records without which a thing cannot be told: the place of its id in the path
    "experiments/*/experiment.json": 1,
    "adapters/kept/record.json": 1,
    "comparisons/*.json": 1,
    "prompt_sets/*.json": 1,
    "arena/2*/arena.json": 1,
    "jobs/*/request.json": 1,
    "generations/*/request.json": 1,
    "serving/*/request.json": 1,
    "datasets/rows/dataset.json": 1,
}
MENDED = (  # what only tells more of a thing, or can be made again
    "experiments/*/labels.json", "experiments/*/config.yaml", "experiments/*/outcome.json", "experiments/*/metrics.jsonl",
    "experiments/*/adapter/MANIFEST.json", "experiments/*/adapter/adapter_config.json", "experiments/*/checkpoints/step-5/MANIFEST.json",
    "datasets/rows/v1/version.json", "arena/2*/votes.jsonl", "arena/2*/labels.json", "jobs/*/progress.json", "jobs/*/end.json", 
    "views.json",
    "cache/experiments.jsonl", ".trash/*/experiment.json", ".trash/.overdue.json", "adapters/.trash/*/record.json",
)  # fmt: skip


def fill_more(data_dir: Path) -> None:
    """Add what the crash states do without."""
    generation = {"kind": "generate", "rules": {"count": 3}, "model_name": "demo", "created_at": 5.0}
    server = {
        "kind": "serve", "model_path": "/m", "adapter_path": None, "name": "served", "host": "127.0.0.1", "port": 1, "keyed": False,
        "created_at": 5.0,
    }  # fmt: skip
    for shelf, request in (("generations", generation), ("serving", server)):
        for number in (1, 2):
            folder = data_dir / shelf / f"20260101-00000{number}-abcdef"
            folder.mkdir(parents=True)
            (folder / "request.json").write_bytes(orjson.dumps(request))
    (data_dir / ".trash" / ".overdue.json").write_bytes(b"{}")
    (data_dir / "cache").mkdir(exist_ok=True)
    (data_dir / "cache" / "experiments.jsonl").write_bytes(b"{}\n[]")


def said(look: Callable[[], Any]) -> Any:
    """Return what somebody finds who opens one thing: it, or the code of what is wrong."""
    try:
        return look()
    except UserError as error:
        return error.code


def open_lists(s: Services) -> dict[str, dict[str, Any]]:
    """Return every list by the ids of its things, and what each thing's own page finds."""
    listed = experiments.look(s)
    queue.overview(s)
    home.overview(s)
    ids = [row.id for row in listed.rows] + listed.unreadable
    return {
        "runs": {row.id: (row.name, row.status) for row in listed.rows},
        "pages": {run_id: str(said(lambda run_id=run_id: runs.snapshot(s, run_id))) for run_id in ids},
        "settings": {run_id: str(said(lambda run_id=run_id: run_settings.settings_of(s, run_id))) for run_id in ids},
        "events": {run_id: len(runs.events(s, run_id)) for run_id in ids},
        "trashed": {run.id: run.name for run in experiments.trashed(s)},
        "adapters": {info.id: info.name for info in adapters.list_adapters(s)},
        "data": {summary.id: summary.errors for summary in datasets.list_datasets(s)},
        "comparisons": {each.id: each.questions for each in compare.history(s)[0]},
        "prompts": {each.id: each.prompts for each in prompt_sets.list_sets(s)},
        "arenas": {record.id: (record.name, len(arena.open_store(s).lines(record.id)[0])) for record in arena.open_store(s).all()[0]},
        "jobs": {job.id: (job.status, job.share) for shelf in (jobs.JOBS, jobs.EVALUATIONS) for job in jobs.list_jobs(s, shelf=shelf)},
        "of a kind": {job.id: job.request["name"] for job in jobs.list_jobs(s, "fuse")},
        "evaluations": {each.id: each.name for each in evaluations.list_evaluations(s)},
        "generations": {each.id: each.wanted for each in synthesis.list_generations(s)},
        "servers": {server.id: server.name for server in serving.list_servers(s)},
    }


SELDOM = {"NULs", "text", "number", "null", "no UTF-8", "link to itself", "pipe"}  # `make test` looks at the others


@pytest.mark.parametrize("how", [pytest.param(how, marks=pytest.mark.slow) if how in SELDOM else how for how in DAMAGES])
@pytest.mark.parametrize("pattern", [*NAMED, *MENDED])
def test_a_damaged_record_hides_no_other(pattern: str, how: str, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_DATA_DIR", str(filled))
    fill_more(filled)
    path = next(iter(sorted(filled.glob(pattern))))
    thing = path.relative_to(filled).parts[-1 if len(path.relative_to(filled).parts) == 1 else 1].removesuffix(".json")
    with services_of(filled) as services:
        before = open_lists(services)
        assert damage.find_damage(services) == []
    DAMAGES[how](path, path.read_bytes())
    with services_of(filled) as services:
        after = open_lists(services)
        for name, things in before.items():
            others = {each: told for each, told in things.items() if each != thing}
            assert {each: told for each, told in after[name].items() if each != thing} == others, name
        services.supervisor.tick()
        services.store.purge_trash()
        if pattern in NAMED:
            assert [found.id for found in damage.find_damage(services)] == [thing]


def test_a_run_of_the_future_is_left_as_it_is(filled: Path) -> None:
    store = ExperimentStore(filled)
    run = next(experiment for experiment in store.all()[0] if experiment.status == "completed")
    future = orjson.loads(store.folder(run.id).record.read_bytes()) | {"schema_version": 999, "new": "fact"}
    store.folder(run.id).record.write_bytes(orjson.dumps(future))
    with services_of(filled) as services:
        assert said(lambda: runs.snapshot(services, run.id)) == "store_too_new"
        for act in (runs.stop, runs.resume, runs.pause):
            assert said(lambda act=act: act(services, run.id)) == "store_too_new"
        services.supervisor.tick()
    assert orjson.loads(store.folder(run.id).record.read_bytes()) == future


@pytest.mark.parametrize("how", [name for name in DAMAGES if name != "other fields"] + ["version 0", "no id"])
def test_a_damaged_store_is_refused_in_words(how: str, filled: Path) -> None:
    path = filled / "store.json"
    content = path.read_bytes()
    if how in DAMAGES:
        DAMAGES[how](path, content)
    else:
        path.write_bytes(orjson.dumps({"version 0": {"schema_version": 0}, "no id": {"schema_version": 1}}[how]))
    kept = path.read_bytes() if path.is_file() else None
    with pytest.raises(UserError) as caught:
        ExperimentStore(filled)
    assert caught.value.code == ("store_too_new" if how == "future" else "store_damaged")
    assert kept is None or path.read_bytes() == kept


@pytest.mark.parametrize("content", [b'{"schema_version": 999, "store_id": "x"}', b"{"])
@pytest.mark.parametrize("command", ["serve", "models list"])
def test_the_app_says_why_it_does_not_open(
    command: str, content: bytes, filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line to the store: one line of words, exit code 2, no server."""
    (filled / "store.json").write_bytes(content)
    monkeypatch.setenv("TUNESMITH_DATA_DIR", str(filled))
    monkeypatch.setattr(sys, "argv", ["tunesmith", *command.split()])
    monkeypatch.setattr(context, "open_services", context.build_services)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    told = capsys.readouterr().err
    assert (caught.value.code, told.count("\n"), "store.json" in told) == (2, 1, True)
    assert ("999" in told) == (b"999" in content)
    assert (filled / "store.json").read_bytes() == content
