"""What somebody brought or made is renamed, rewritten and deleted by that person and by admins alone; others use it."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.adapters import add_adapter
from tests.contract.test_rights import functions
from tests.ended_runs import add_ended_run
from tests.idle_services import idle_services
from tunesmith.access.people import ADMIN, TRAINER, VIEWER, Person
from tunesmith.errors import UserError
from tunesmith.export.config import QuantizeRules
from tunesmith.inference.sampling import Sampling
from tunesmith.jobs.job import JobFolders
from tunesmith.models.discovery import ModelInfo
from tunesmith.models.folder_layout import MANIFEST
from tunesmith.services import (
    adapters,
    arena,
    compare,
    dataset_versions,
    datasets,
    experiments,
    exports,
    jobs,
    model_library,
    models,
    prompt_sets,
    serving,
    shelved,
    storage,
    synthesis,
)
from tunesmith.services.context import Services
from tunesmith.services.variants import VariantInfo
from tunesmith.store.adapters import RECORD
from tunesmith.store.comparisons import Comparison, ComparisonStore
from tunesmith.store.ids import new_id
from tunesmith.system.paths import DEMO_MODEL

Act = Callable[[Services], object]
WORDS = re.compile(r"delete|trash|restore|rename|forget|remove|drop|empty|clear|purge|discard")
NOT_OWNED = {
    ("uploads", "drop"): "an upload that was not imported yet",
    ("ollama", "remove"): "models of Ollama, which knows no owners",
}


def run_of(s: Services) -> str:
    run = add_ended_run(s)
    s.store.change(run, owner=s.person.name)
    return run.id


def with_run(act: Callable[[Services, str], object]) -> Callable[[Services], Act]:
    def make(s: Services) -> Act:
        run_id = run_of(s)
        return lambda who: act(who, run_id)

    return make


def thrown_run(s: Services) -> Act:
    run_id = run_of(s)
    s.store.trash(run_id)
    return lambda who: experiments.restore(who, run_id)


def adapter_of(s: Services) -> adapters.AdapterInfo:
    record = add_adapter(s.data_dir, "mine")
    path = s.data_dir / "adapters" / record.id / RECORD
    told = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps(told | {"lineage": {"owner": s.person.name}}))
    return adapters.find_adapter(s, record.id)


def with_adapter(act: Callable[[Services, adapters.AdapterInfo], object], of_run: bool = False) -> Callable[[Services], Act]:
    def make(s: Services) -> Act:
        info = adapters.find_adapter(s, run_of(s)) if of_run else adapter_of(s)
        return lambda who: act(who, info)

    return make


def thrown_adapter(of_run: bool) -> Callable[[Services], Act]:
    def make(s: Services) -> Act:
        info = adapters.find_adapter(s, run_of(s)) if of_run else adapter_of(s)
        adapters.trash(s.of(Person("Root", ADMIN)), info)
        return lambda who: adapters.restore(who, info.id, of_run)

    return make


def arena_of(s: Services) -> str:
    return arena.open_store(s).create("duel", {"a": "A", "b": "B"}, 2, "", {}, s.person.name).id


def comparison_of(s: Services) -> str:
    made = Comparison(new_id(), 1.0, (), owner=s.person.name)
    ComparisonStore(s.data_dir).save(made)
    return made.id


def dataset_of(s: Services) -> str:
    file = s.data_dir / "rows.jsonl"
    rows = [{"prompt": f"What is {n} + {n}?", "completion": str(2 * n)} for n in range(30)]
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    found: str = dataset_versions.import_file(s, file, "mine")
    return found


def of_shelf(shelf: str, act: Callable[[Services, str], object], **request: Any) -> Callable[[Services], Act]:
    def make(s: Services) -> Act:
        job_id = JobFolders(s.data_dir / shelf).create({"owner": s.person.name, **request})
        return lambda who: act(who, job_id)

    return make


def export_of(s: Services) -> exports.Made:
    folder = exports.exports_folder(s) / "mine"
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(orjson.dumps({"format": "peft", "owner": s.person.name}))
    return exports.find_made(s, "mine")


def simple(create: Callable[[Services], Any], act: Callable[[Services, Any], object], *before: Callable[[Services, Any], object]) -> Any:
    """Return what makes a thing (and throws it away first, as an admin) and then what is to be tried on it."""

    def make(s: Services) -> Act:
        made = create(s)
        for each in before:
            each(s.of(Person("Root", ADMIN)), made)
        return lambda who: act(who, made)

    return make


def model_of(s: Services) -> ModelInfo:
    folder = s.data_dir / "models" / "mine"
    shutil.copytree(DEMO_MODEL, folder)
    (folder / MANIFEST).write_bytes(orjson.dumps({"owner": s.person.name}))
    return models.find_model(s, "mine")


def prompts_of(s: Services) -> str:
    return prompt_sets.save(s, "mine", ["a?"]).id


def old_checkpoints(s: Services, run_id: str) -> None:
    storage.delete_old_checkpoints(s, [run_id])


EVALUATION = {"kind": "evaluate", "name": "mine", "variants": [], "metrics": [], "baseline": ""}
CASES: dict[str, Callable[[Services], Act]] = {
    "experiments.rename": with_run(lambda s, i: experiments.rename(s, i, "new")),
    "experiments.trash": with_run(experiments.trash),
    "experiments.restore": thrown_run,
    "adapters.rename": with_adapter(lambda s, info: adapters.rename(s, info, "new")),
    "adapters.trash": with_adapter(adapters.trash),
    "adapters.restore": thrown_adapter(of_run=False),
    "adapters.rename of a run": with_adapter(lambda s, info: adapters.rename(s, info, "new"), of_run=True),
    "adapters.trash of a run": with_adapter(adapters.trash, of_run=True),
    "adapters.restore of a run": thrown_adapter(of_run=True),
    "adapters.rename by a wrong word": with_adapter(lambda s, info: adapters.rename(s, replace(info, owner=s.person.name), "new")),
    "arena.rename": simple(arena_of, lambda s, i: arena.rename(s, i, "new")),
    "arena.trash": simple(arena_of, arena.trash),
    "arena.restore": simple(arena_of, arena.restore, arena.trash),
    "compare.delete": simple(comparison_of, compare.delete),
    "compare.restore": simple(comparison_of, compare.restore, compare.delete),
    "datasets.delete": simple(dataset_of, datasets.delete),
    "datasets.restore": simple(dataset_of, datasets.restore, datasets.delete),
    "dataset_versions.clean": simple(dataset_of, lambda s, i: dataset_versions.clean(s, i, ["exact_duplicates"], [])),
    "dataset_versions.split": simple(dataset_of, lambda s, i: dataset_versions.split(s, i, {"valid": 0.2})),
    "dataset_versions.go_to_version": simple(dataset_of, lambda s, i: dataset_versions.go_to_version(s, i, 1)),
    "shelved.rename": of_shelf("evaluations", lambda s, i: shelved.rename(s, i, "new"), **EVALUATION),
    "shelved.delete": of_shelf("evaluations", shelved.delete, **EVALUATION),
    "exports.delete": simple(export_of, exports.delete),
    "storage.delete_exports": simple(export_of, lambda s, made: storage.delete_exports(s, [str(made.path)])),
    "storage.delete_old_checkpoints": with_run(old_checkpoints),
    "model_library.trash": simple(model_of, model_library.trash),
    "model_library.restore": simple(model_of, lambda s, model: model_library.restore(s, model.id), model_library.trash),
    "jobs.forget": of_shelf("jobs", jobs.forget, kind="fuse"),
    "jobs.forget of an evaluation": of_shelf("evaluations", lambda s, i: jobs.forget(s, i, jobs.EVALUATIONS), kind="evaluate"),
    "prompt_sets.save over another": simple(prompts_of, lambda s, _: prompt_sets.save(s, "mine", ["b?"])),
    "prompt_sets.add_prompts to another": simple(prompts_of, lambda s, _: prompt_sets.add_prompts(s, "mine", ["b?"])),
    "prompt_sets.delete": simple(prompts_of, prompt_sets.delete),
    "prompt_sets.restore": simple(prompts_of, prompt_sets.restore, prompt_sets.delete),
    "serving.forget": of_shelf(
        "serving", serving.forget, kind="serve", model_path="m", adapter_path=None, name="m", host="127.0.0.1", port=0, keyed=False
    ),
    "synthesis.delete": of_shelf("generations", synthesis.delete, rules={}),
}


@pytest.fixture
def services(data_dir: Path) -> Iterator[Services]:
    del data_dir
    with idle_services() as opened:
        yield opened


def state_of(root: Path) -> dict[str, str]:
    kept = (path for path in root.rglob("*") if path.is_file() and path.parent.name not in {"locks", "cache"})
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept if not path.name.startswith("audit")}


@pytest.mark.parametrize("name", CASES)
def test_only_the_owner_and_admins_do_it(services: Services, name: str) -> None:
    ann, tom = services.of(Person("Ann", TRAINER)), services.of(Person("Tom", TRAINER))
    vi, root = services.of(Person("Ann", VIEWER)), services.of(Person("Root", ADMIN))
    act = CASES[name](ann)
    before = state_of(services.data_dir)
    with pytest.raises(UserError) as refused:
        act(vi)
    assert refused.value.code == "role_needed"
    with pytest.raises(UserError) as refused:
        act(tom)
    assert (refused.value.code, refused.value.facts) == ("owned_by_another", {"owner": "Ann"})
    assert state_of(services.data_dir) == before
    act(ann)
    if not re.search("save|add|restore|go_to|split|clean|rename", name):  # what is gone is made anew; the rest is done once more
        act = CASES[name](ann)
    elif "restore" in name:
        return  # it is back; that admins bring back is what made it so
    act(root)


@pytest.mark.parametrize("name", ["experiments.trash", "adapters.trash", "arena.rename", "compare.delete", "datasets.delete", "jobs.forget",
                                  "exports.delete", "prompt_sets.delete", "shelved.rename"])  # fmt: skip
def test_what_nobody_owns_is_everybody_s(services: Services, name: str) -> None:
    CASES[name](services.of(Person("", TRAINER)))(services.of(Person("Tom", TRAINER)))


def test_every_function_that_takes_away_is_tried_here() -> None:
    asked = {(module, name) for module, name, role in functions() if role not in {None, ADMIN} and WORDS.search(name)}
    tried = {(name.partition(".")[0], name.partition(".")[2].partition(" ")[0]) for name in CASES}
    assert asked - tried - set(NOT_OWNED) - {("experiments", "empty_trash")} == set()
    assert not tried & set(NOT_OWNED)


def test_the_trash_is_emptied_of_one_s_own(services: Services) -> None:
    ann, tom = services.of(Person("Ann", TRAINER)), services.of(Person("Tom", TRAINER))
    of_ann, of_tom, of_nobody = run_of(ann), run_of(tom), run_of(services.of(Person("", TRAINER)))
    for run_id in (of_ann, of_tom, of_nobody):
        services.store.trash(run_id)
    experiments.empty_trash(tom)
    assert [run.id for run in services.store.trashed()] == [of_ann]
    experiments.empty_trash(services.of(Person("Root", ADMIN)))
    assert services.store.trashed_count() == 0


def test_things_are_of_whoever_made_them(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.jobs.job._start_worker", lambda *_: None)  # what is asked for is written down; nobody works
    ann, tom = services.of(Person("Ann", TRAINER)), services.of(Person("Tom", TRAINER))
    mine = dataset_of(ann)
    assert {each.id: each.owner for each in datasets.list_datasets(tom)} | {mine: "Ann", "company_facts": ""} == {
        each.id: each.owner for each in datasets.list_datasets(tom)
    }
    assert datasets.rows(tom, mine, "train")
    assert datasets.find_dataset(tom, dataset_versions.copy_shipped(tom, mine)).owner == "Tom"
    assert prompt_sets.find_set(tom, prompts_of(ann)).owner == "Ann"
    job_id = exports.start_quantized(ann, exports.find_source(ann, "model:demo"), "small", QuantizeRules())
    jobs.cancel(tom, job_id)  # a shared machine needs that others can stop what occupies it
    assert jobs.find_job(tom, job_id).owner == "Ann"
    two = [VariantInfo(key, key, "demo", DEMO_MODEL, 1.0) for key in ("a", "b")]
    assert arena.create(ann, "duel", two, 2, "", Sampling()).owner == "Ann"
    assert compare.ask(ann, two, ["a?"], "", Sampling()).comparison.owner == "Ann"
