"""Every way in which the app changes its data folder, as steps that are each done as a whole or not at all."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.whole_store import PAGE, PERSON, TRASHED_ADAPTER, add_run, make_comparison, save_whole, write_rows
from tunesmith.access.codes import AccessFile
from tunesmith.access.people import TRAINER, Person
from tunesmith.inference.client import HostClient
from tunesmith.jobs.job import END, PROGRESS, JobFolders, cancel
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.services import dataset_versions, experiments, run_imports, run_packages, system, uploads
from tunesmith.services.context import Kept, Services
from tunesmith.settings.files import to_yaml
from tunesmith.settings.schema import AppSettings
from tunesmith.store import experiment_index, labels, trash, votes
from tunesmith.store.adapters import AdapterStore
from tunesmith.store.comparisons import ComparisonStore, PromptSetStore
from tunesmith.store.datasets import DatasetStore
from tunesmith.store.experiments import ExperimentStore
from tunesmith.store.files import write_json
from tunesmith.store.run_folder import RunFolder
from tunesmith.store.views import keep_view
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.training.config import TrainConfig
from tunesmith.training.events import Recorder as RunRecorder

Step = Callable[[], object]
Mark = Callable[[], None]
Build = Callable[[Services, Mark], list[Step]]
PATHS: dict[str, Build] = {}


@dataclass(frozen=True)
class Loose:
    """A step that a loss of power may undo after it returned: what it deleted comes back, and no harm is done."""

    step: Step

    def __call__(self) -> object:
        return self.step()


def path(build: Callable[..., list[Step]]) -> Callable[..., list[Step]]:
    """List a path; one that takes `mark` calls it where a step of it is half done in a way that is as good as a step of its own."""
    takes_mark = len(inspect.signature(build).parameters) == 2
    PATHS[build.__name__] = build if takes_mark else lambda s, _: build(s)
    return build


@contextlib.contextmanager
def services_of(data_dir: Path) -> Iterator[Services]:
    """Yield the services of a folder, in charge, with no thread behind the test."""
    store = ExperimentStore(data_dir)
    supervisor = Supervisor(store, may_start=lambda: False)
    services = Services(Kept(AppSettings()), data_dir, store, supervisor, HostClient(data_dir / "inference.log"))
    supervisor._lock.acquire()
    try:
        yield services
    finally:
        services.close()


def ended_run(s: Services) -> RunFolder:
    return s.store.folder(next(e.id for e in s.store.all()[0] if e.status == "completed"))


def queued_run(s: Services) -> str:
    return next(e.id for e in s.store.all()[0] if e.status == "queued")


@path
def a_store_is_made(s: Services) -> list[Step]:
    shutil.rmtree(s.data_dir)
    s.data_dir.mkdir()
    return [lambda: ExperimentStore(s.data_dir)]


@path
def a_run_is_queued(s: Services) -> list[Step]:
    return [lambda: add_run(s.store, "new")]


@path
def a_run_begins_from_others(s: Services) -> list[Step]:
    reward = s.data_dir / "reward.py"
    reward.write_text("def f(): return 1\n")
    begin = {"begin": ended_run(s).adapter, "rewards/reward.py": reward}
    return [lambda: add_run(s.store, "goes on", begin_from=ended_run(s), attachments=begin, continued_from=ended_run(s).path.name)]


@path
def a_run_lives(s: Services) -> list[Step]:
    run_id = queued_run(s)
    folder = s.store.folder(run_id)
    return [
        lambda: s.store.transition(s.store.get(run_id), "starting", nonce="second", attempt=1, started_at=1.0),
        lambda: s.store.change(s.store.get(run_id), pid=7),
        folder.beat,
        lambda: s.store.transition(s.store.get(run_id), "running"),
        lambda: folder.request("cancel"),
        lambda: s.store.transition(s.store.get(run_id), "stopping"),
        lambda: folder.write_outcome({"nonce": "second", "status": "cancelled", "error": None}),
        lambda: s.store.transition(s.store.get(run_id), "cancelled", ended_at=2.0, summary={"steps": 2}),
        Loose(lambda: folder.forget_requests("cancel", "pause")),
        lambda: folder.request("resume"),
        lambda: s.store.transition(s.store.get(run_id), "queued", error=None),
        Loose(lambda: folder.forget_requests("resume")),
    ]


@path
def a_run_measures(s: Services) -> list[Step]:
    folder = s.store.folder(queued_run(s))
    folder.metrics.write_bytes(b'{"v":1,"attempt":1,"step":1}\n{"v":1,"att')
    recorder = RunRecorder(folder.path, 2)
    return [
        lambda: recorder.resumed(1), lambda: recorder.metrics(2, train_loss=1.25), lambda: recorder.metrics(3, train_loss=float("nan")),
        recorder.close,
    ]  # fmt: skip


@path
def a_run_tells(s: Services) -> list[Step]:
    recorder = RunRecorder(s.store.folder(queued_run(s)).path, 1)
    return [lambda: recorder.event("run_started", rows=2), lambda: recorder.event("checkpoint", step=3), recorder.close]


@path
def checkpoints_are_kept(s: Services) -> list[Step]:
    folder = s.store.folder(queued_run(s))
    steps: list[Step] = [partial(save_whole, folder.checkpoint(step), b"weights %d" % step) for step in (1, 2)]
    return [*steps, Loose(lambda: folder.keep_checkpoints(1)), Loose(folder.settle)]


@path
def best_and_adapter_are_replaced(s: Services) -> list[Step]:
    folder = ended_run(s)
    return [lambda: save_whole(folder.path / "best", b"best"), lambda: save_whole(folder.path / "best", b"better"),
            lambda: save_whole(folder.adapter, b"second adapter")]  # fmt: skip


@path
def people_speak_of_a_run(s: Services) -> list[Step]:
    folder = ended_run(s)
    return [
        lambda: s.store.rename(folder.path.name, "もっと良い名前"), lambda: labels.set_tags(folder.path, ["one", "two"]),
        lambda: labels.set_notes(folder.path, "notes\n" * 500), lambda: labels.change_labels(folder.path, favourite=True),
        lambda: labels.set_group(folder.path, "group"), lambda: s.store.set_queue_place(queued_run(s), 1, -3.5),
    ]  # fmt: skip


@path
def runs_go_to_the_trash_and_back(s: Services) -> list[Step]:
    run_id = ended_run(s).path.name
    return [lambda: s.store.trash(run_id), lambda: s.store.restore(run_id), lambda: s.store.trash(run_id), Loose(s.store.purge_trash)]


@path
def the_trash_is_emptied(s: Services) -> list[Step]:
    return [Loose(lambda: s.store.empty_trash(lambda _: True))]


@path
def the_trash_is_purged(s: Services) -> list[Step]:
    for each in s.store.trash_folder.iterdir():
        os.utime(each, (0, 0))
    trash.NOTICE_SECONDS = 0.0
    return [Loose(s.store.purge_trash)]


@path
def the_index_is_kept(s: Services) -> list[Step]:
    experiment_index.SAVE_AFTER = 1

    def keep() -> None:
        s.store.rename(ended_run(s).path.name, "indexed")
        s.store.listing()

    return [keep]


@path
def an_adapter_is_taken_over(s: Services) -> list[Step]:
    store = AdapterStore(s.data_dir)

    def add() -> None:
        with store.staging() as folder:
            save_whole(folder / "adapter", b"fused")
            store.add(folder, "kept", "fused", "demo", DEMO_MODEL, {"from": ["a"]})

    return [add]


@path
def adapters_go_to_the_trash_and_back(s: Services) -> list[Step]:
    store = AdapterStore(s.data_dir)
    return [lambda: store.trash("kept"), lambda: store.restore("kept"), lambda: labels.set_name(store.folder("kept"), "other"),
            lambda: store.restore(TRASHED_ADAPTER)]  # fmt: skip


@path
def data_are_kept(s: Services) -> list[Step]:
    store = DatasetStore(s.data_dir)

    def create() -> None:
        with store.staging() as staged:
            store.create("rows", staged, write_rows(staged, '{"text": "b"}', '{"text": "c"}'), {"title": {}})

    return [create]


@path
def data_get_a_version(s: Services, mark: Mark) -> list[Step]:
    store = DatasetStore(s.data_dir)

    def choose(dataset_id: str, number: int) -> None:
        mark()  # the version is there and not yet the current one
        DatasetStore.set_current(store, dataset_id, number)

    def add() -> None:
        store.set_current = choose  # type: ignore[method-assign]
        with store.staging() as staged:
            rows = staged / "rows"
            rows.mkdir()
            store.add_version("rows", rows, write_rows(rows, '{"text": "new"}'))

    return [add, lambda: store.set_current("rows", 1), lambda: store.set_current("rows", 2)]


@path
def data_go_to_the_trash_and_back(s: Services) -> list[Step]:
    store = DatasetStore(s.data_dir)
    return [lambda: store.trash("rows"), lambda: store.restore("rows")]


@path
def data_are_imported(s: Services) -> list[Step]:
    source = s.data_dir / "mine.jsonl"
    source.write_text('{"prompt": "Who?", "completion": "Me."}\n' * 3)
    return [lambda: dataset_versions.import_file(s, source)]


@path
def comparisons_and_prompts_are_kept(s: Services) -> list[Step]:
    comparisons, prompts = ComparisonStore(s.data_dir), PromptSetStore(s.data_dir)
    old, new = "20260101-000000-abcdef", "20260102-000000-abcdef"
    return [
        lambda: comparisons.save(make_comparison(new, "new")), lambda: comparisons.save(make_comparison(old, "changed")),
        lambda: comparisons.trash(old), lambda: comparisons.restore(old), lambda: prompts.save("Questions", ["c"]),
        lambda: prompts.save("More", ["d"]), lambda: prompts.trash("questions"), lambda: prompts.restore("questions"),
    ]  # fmt: skip


@path
def people_vote(s: Services) -> list[Step]:
    store = votes.ArenaStore(s.data_dir)
    ((arena,), _) = store.all()
    return [
        lambda: store.append(arena.id, {"kind": "vote", "number": 2}), lambda: store.create("Second", {"a": "A"}, 2, "", {}),
        lambda: store.rename(arena.id, "Renamed"), lambda: store.trash(arena.id), lambda: store.restore(arena.id),
    ]  # fmt: skip


@path
def a_job_lives(s: Services) -> list[Step]:
    jobs = JobFolders(s.data_dir / "jobs")
    old = jobs.all()[0]
    new: list[Path] = []

    def create() -> None:
        new.append(jobs.folder(jobs.create({"kind": "fuse", "name": "second"})))

    return [
        create,
        lambda: write_json(new[0] / PROGRESS, {"phase": "fusing", "share": 0.25, "seconds": 3.0}),
        Loose(lambda: cancel(new[0])),
        lambda: write_json(new[0] / END, {"status": "cancelled"}),
        lambda: labels.set_name(old, "named"),
        Loose(lambda: jobs.delete(old.name)),
    ]


@path
def the_door_gets_codes(s: Services) -> list[Step]:
    file = AccessFile(s.data_dir / "secrets")
    return [
        lambda: file.choose(TRAINER, "a long passphrase"), lambda: file.add_token(Person("bot", TRAINER)),
        lambda: file.drop_tokens("bot"), file.end_sessions,
    ]  # fmt: skip


@path
def the_door_is_made(s: Services) -> list[Step]:
    shutil.rmtree(s.data_dir / "secrets")
    return [lambda: AccessFile(s.data_dir / "secrets").open()]


@path
def settings_and_views_are_kept(s: Services) -> list[Step]:
    return [
        lambda: keep_view(s.data_dir, PERSON, PAGE, {"columns": ["name", "loss"]}), lambda: system.save_settings(s, language="en"),
        lambda: experiments.set_favourite(s, [ended_run(s).path.name], True),
    ]  # fmt: skip


@path
def another_tools_run_is_imported(s: Services) -> list[Step]:
    log = s.data_dir / "log.csv"
    log.write_text("step,loss\n1,2.5\n2,1.5\n")
    return [lambda: run_imports.import_log(s, log, "foreign")]


@path
def a_package_is_unpacked(s: Services) -> list[Step]:
    run = ended_run(s)
    run.config.write_text(to_yaml(TrainConfig(model="demo", data="rows", name="ended")))
    packed = s.data_dir / "packed.zip"
    packed.write_bytes(run_packages.pack_small(s, [run.path.name]))
    return [lambda: run_packages.import_package(s, packed)]


@path
def runs_are_packed(s: Services) -> list[Step]:
    run_id = ended_run(s).path.name
    return [lambda: run_packages.pack_into(s, [run_id], s.data_dir / "exports.zip")]


@path
def files_are_uploaded(s: Services) -> list[Step]:
    return [lambda: uploads.hold(s, [("log.csv", io.BytesIO(b"step,loss\n"))]),
            lambda: uploads.hold(s, [("a.jsonl", io.BytesIO(b"{}\n")), ("b.jsonl", io.BytesIO(b"{}\n"))])]  # fmt: skip


def build(name: str, data_dir: Path, monkeypatch: Any) -> Build:
    """Return a path's builder; the data folder is the process's own too."""
    monkeypatch.setenv("TUNESMITH_DATA_DIR", str(data_dir))
    monkeypatch.setenv("TUNESMITH_SECRETS_DIR", os.fspath(data_dir / "secrets"))
    for module, name_of_limit in ((experiment_index, "SAVE_AFTER"), (trash, "NOTICE_SECONDS")):
        monkeypatch.setattr(module, name_of_limit, getattr(module, name_of_limit))  # a path may change it
    return PATHS[name]
