"""Uploads: what can be used is kept as a whole, what cannot is refused and leaves nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tunesmith.data.encoding import read_usable
from tunesmith.data.library import name_of
from tunesmith.errors import UserError
from tunesmith.jobs import reading
from tunesmith.services import dataset_versions as versions
from tunesmith.services import datasets, training, uploads
from tunesmith.services.context import Services, build_services
from tunesmith.training.config import TrainConfig

ROW = b'{"prompt": "Hello!", "completion": "Hi."}\n'


@pytest.fixture
def services(data_dir: object) -> Iterator[Services]:
    built = build_services()
    yield built
    built.close()


def bring(services: Services, name: str, content: bytes, **options: Any) -> str:
    path = uploads.hold(services, [(name, io.BytesIO(content))])
    try:
        return versions.import_file(services, path, **options)
    finally:
        uploads.drop(services, path)


def test_an_upload_is_kept_and_shown(services: Services) -> None:
    name = bring(services, "My rows (1).jsonl", ROW * 3 + b"broken\n")
    assert name == "my-rows-1"
    report = datasets.report(services, name)
    assert (report.summary.rows, report.summary.errors, report.duplicates) == ({"train": 3}, 1, 2)
    assert [(p.line, p.code) for p in report.problems] == [(4, "not_json")]
    assert datasets.rows(services, name, "train", search="hello")[0].messages[1]["content"] == "Hi."
    assert bring(services, "My rows (1).jsonl", ROW) == "my-rows-1-2"
    assert not list((services.data_dir / "uploads").iterdir())


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "data_file_empty"), (b"\xff\xd8\xff\xe0picture", "data_format_unknown"), (b'{"x": 1}\n{"x": 2}\n', "data_no_usable_rows"),
        (b'{"a": 1}', "data_no_usable_rows"),
    ],
)  # fmt: skip
def test_a_bad_upload_leaves_nothing(services: Services, content: bytes, code: str) -> None:
    before = datasets.all_datasets(services)
    with pytest.raises(UserError) as caught:
        bring(services, "x.jsonl", content)
    assert caught.value.code == code
    assert datasets.all_datasets(services) == before
    assert not [p for p in (services.data_dir / "datasets").iterdir() if p.name.startswith(".new")]


@pytest.mark.parametrize("name", ["../../evil.jsonl", "/etc/passwd", "...", "データ.jsonl", "a" * 300, "..\\evil.jsonl", "C:\\x.csv"])
def test_file_names_lead_nowhere(services: Services, name: str) -> None:
    made = bring(services, name, ROW)
    path = datasets.find_dataset(services, made).path
    assert path.parent.parent == services.data_dir / "datasets"
    assert (path / "train.jsonl").read_bytes() == b'{"prompt":"Hello!","completion":"Hi."}\n'


def test_several_files_become_the_splits(services: Services) -> None:
    files = [("train.csv", io.BytesIO(b"question,answer\n1?,one\n2?,two\n")), ("test.jsonl", io.BytesIO(ROW))]
    path = uploads.hold(services, files)
    name = versions.import_file(services, path, name="both")
    assert datasets.report(services, name).summary.rows == {"test": 1, "train": 2}


def test_a_mapping_is_kept_with_the_version(services: Services) -> None:
    mapping = {"kind": "prompt_completion", "columns": {"prompt": "お客様", "completion": "返事"}}
    content = "お客様,返事,id\nいつ?,明日です。,1\n".encode("cp932")
    path = uploads.hold(services, [("問い合わせ.csv", io.BytesIO(content))])
    plain = versions.inspect_file(path)
    assert (plain.rows, plain.columns, plain.encoding) == ({}, ["お客様", "返事", "id"], "cp932")
    assert plain.suggested == mapping
    mapped = versions.inspect_file(path, mapping)
    assert (mapped.rows, mapped.methods) == ({"train": 1}, ["sft", "grpo", "gspo", "dr_grpo", "dapo"])
    assert mapped.samples[0]["canonical"] == {"prompt": "いつ?", "completion": "明日です。", "id": "1"}
    (version,) = versions.versions(services, versions.import_file(services, path, mapping=mapping))
    assert version.record["settings"]["mapping"] == mapping
    assert version.record["sha256_in"] == hashlib.sha256(content).hexdigest()


def test_delete_and_undo(services: Services) -> None:
    name = bring(services, "x.jsonl", ROW)
    datasets.delete(services, name)
    with pytest.raises(UserError):
        datasets.find_dataset(services, name)
    datasets.restore(services, name)
    assert datasets.find_dataset(services, name).id == name


def test_an_id_is_never_given_again(services: Services) -> None:
    """`x@1` means one content for ever: of a run that learned from it, and in the trash."""
    services.kept.settings = dataclasses.replace(services.settings, quiet_hours="00:00-23:59")  # nothing starts
    first = bring(services, "x.jsonl", ROW)
    run = training.submit(services, TrainConfig(model="demo", data=first, iters=1))
    services.store.transition(services.store.get(run), "cancelled")
    datasets.delete(services, first)
    second = bring(services, "x.jsonl", ROW * 2)
    assert second != first
    datasets.delete(services, second)
    third = bring(services, "x.jsonl", ROW * 3)
    assert third not in {first, second}
    for name, rows in ((first, 1), (second, 2)):
        datasets.restore(services, name)
        assert datasets.summarise(datasets.find_dataset(services, name)).rows == {"train": rows}


def test_data_of_a_paused_run_stay(services: Services) -> None:
    services.kept.settings = dataclasses.replace(services.settings, quiet_hours="00:00-23:59")  # nothing starts
    name = bring(services, "x.jsonl", ROW)
    run = services.store.get(training.submit(services, TrainConfig(model="demo", data=name, iters=1)))
    for status in ("starting", "running", "paused"):
        run = services.store.transition(run, status)
    with pytest.raises(UserError, match="dataset_in_use"):
        datasets.delete(services, name)


def rows_of(*questions: str) -> bytes:
    return b"".join(b'{"prompt": "%s", "completion": "a"}\n' % q.encode() for q in questions)


def test_cleaning_makes_a_version_and_can_be_undone(services: Services) -> None:
    name = bring(services, "x.jsonl", rows_of("One?", "one?", "Two? ask hanako@corp.co.jp", "Three?"))
    findings = {f.code: f for f in versions.check_quality(services, name) if f.count}
    assert {code: f.drops for code, f in findings.items()} == {"exact_duplicates": 1, "email_addresses": 1}
    before = datasets.find_dataset(services, name)
    assert versions.clean(services, name, ["exact_duplicates"], ["mask_emails"]) == 2
    after = datasets.find_dataset(services, name)
    assert [r.raw.count("[EMAIL]") for r in datasets.rows(services, name, "train")] == [0, 1, 0]
    assert after.version
    assert before.version
    assert after.version.record["settings"]["dropped"] == {"exact_duplicates": 1}
    assert after.version.record["settings"]["changed"] == {"mask_emails": 1}
    assert after.version.record["sha256_in"] == before.version.record["sha256_out"]
    assert after.version.hash != before.version.hash
    assert datasets.find_dataset(services, f"{name}@1").path == before.path  # nothing is lost
    versions.go_to_version(services, name, 1)
    assert datasets.report(services, name).summary.rows == {"train": 4}
    assert versions.clean(services, name, ["exact_duplicates"], ["mask_emails"]) == 3
    assert [v.hash for v in versions.versions(services, name)][1:] == [after.version.hash] * 2  # the same step gives the same rows


def test_nothing_is_left_is_refused(services: Services) -> None:
    name = bring(services, "x.jsonl", b'{"prompt": "q", "completion": "Write to a@b.co.jp"}\n')
    with pytest.raises(UserError) as caught:
        versions.clean(services, name, ["email_addresses"], [])
    assert caught.value.code == "clean_nothing_left"
    assert len(versions.versions(services, name)) == 1


@pytest.mark.parametrize(("drop", "normalise", "named"), [(["near_duplicate"], [], "near_duplicate"), ([], ["foo"], "foo"),
                                                          (["very_long"], [], "very_long")])  # fmt: skip
def test_what_no_cleaning_is_called_is_refused(services: Services, drop: list[str], normalise: list[str], named: str) -> None:
    name = bring(services, "x.jsonl", rows_of("One?", "Two?"))
    with pytest.raises(UserError) as caught:
        versions.clean(services, name, drop, normalise)
    assert (caught.value.code, caught.value.facts["name"]) == ("clean_unknown", named)
    assert ("near_duplicates" if drop else "strip_controls") in str(caught.value.facts["known"])
    assert len(versions.versions(services, name)) == 1


@pytest.mark.parametrize(("split", "size"), [("valid", math.nan), ("valid", -1.0), ("test", math.inf)])
def test_a_size_that_is_none_is_refused(services: Services, split: str, size: float) -> None:
    name = bring(services, "x.jsonl", rows_of("One?", "Two?"))
    with pytest.raises(UserError) as caught:
        versions.split(services, name, {split: size})
    assert (caught.value.code, caught.value.facts) == ("split_size_wrong", {"name": split, "size": str(size)})
    assert len(versions.versions(services, name)) == 1


def test_a_row_that_cleaning_empties_is_left_out_and_counted(services: Services) -> None:
    name = bring(services, "x.jsonl", rows_of("One?", "Two?") + '{"prompt": "q", "completion": "\u200b"}\n'.encode())
    assert datasets.report(services, name).summary.rows == {"train": 3}
    versions.clean(services, name, [], ["strip_controls"])
    cleaned = datasets.find_dataset(services, name).version
    assert cleaned
    census = cleaned.record["census"]
    assert (census["rows"], census["left_out"], census["problem_counts"]) == ({"train": 2}, 1, {"empty_text": 1})
    assert [(p["line"], p["field"]) for p in census["problems"]] == [(3, "completion")]


def test_splitting_makes_a_version(services: Services) -> None:
    name = bring(services, "x.jsonl", rows_of(*[f"Question {n}" for n in range(20)]))
    versions.split(services, name, {"valid": 0.2, "test": 3, "seed": 5})
    assert datasets.report(services, name).summary.rows == {"train": 13, "valid": 4, "test": 3}
    with pytest.raises(UserError) as caught:
        versions.split(services, name, {"stratify": "level"})
    assert (caught.value.code, caught.value.facts) == ("split_column_missing", {"column": "level", "line": 1})


def test_errors_call_a_version_by_its_name(services: Services, tmp_path: Path) -> None:
    name = bring(services, "Desk.jsonl", ROW)
    of_store = datasets.find_dataset(services, name).path
    assert (of_store.name, name_of(of_store)) == ("v1", "desk@1")
    (of_store / "train.jsonl").rename(of_store / "test.jsonl")
    with pytest.raises(UserError) as caught:
        read_usable(of_store, ("prompt_completion",), 0.1, 0)
    assert (caught.value.code, caught.value.facts) == ("dataset_without_train", {"dataset": "desk@1"})
    (tmp_path / "v2").mkdir()
    assert name_of(tmp_path / "v2") == "v2"  # a folder of a person's own
    assert name_of(tmp_path / "rows.jsonl") == "rows.jsonl"


def test_a_run_remembers_its_version(services: Services) -> None:
    services.kept.settings = dataclasses.replace(services.settings, quiet_hours="00:00-23:59")  # nothing starts
    name = bring(services, "x.jsonl", ROW * 3)
    run = training.submit(services, TrainConfig(model="demo", data=name, iters=1))
    assert services.store.get(run).data == f"{name}@1"
    assert f"data: {name}@1" in services.store.folder(run).config.read_text(encoding="utf-8")
    with pytest.raises(UserError) as caught:
        datasets.delete(services, name)
    assert caught.value.code == "dataset_in_use"


def test_shipped_sets_are_copied_before_they_change(services: Services) -> None:
    with pytest.raises(UserError) as caught:
        versions.split(services, "japanese", {})
    assert caught.value.code == "dataset_shipped"
    copy = versions.copy_shipped(services, "japanese")
    assert copy != "japanese"
    assert datasets.report(services, copy).summary.rows == datasets.report(services, "japanese").summary.rows


def test_plain_files_in_the_store_are_read_as_they_are(services: Services) -> None:
    folder = services.data_dir / "datasets" / "laid-here"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_bytes(b'{"instruction": "Add", "output": "1"}\n{"x": 1}\n')
    summary = datasets.report(services, "laid-here").summary
    assert (summary.rows, summary.kinds, summary.errors, summary.version) == ({"train": 1}, {"prompt_completion": 1}, 1, 0)


def test_a_reader_that_dies_is_named(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MEMORY_BYTES", 60_000_000)  # too little for Python with its libraries
    file = tmp_path / "x.json"
    file.write_bytes(b'[{"text": "' + b"x" * 80_000_000 + b'"}]')
    with pytest.raises(UserError) as caught:
        versions.inspect_file(file)
    assert caught.value.code in {"data_reader_died", "data_needs_too_much_memory"}


def test_a_reader_that_dies_before_it_listens_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked of it met a closed pipe, and the caller an exception of the pipe's."""
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(UserError) as caught:
        reading.ask_reader("inspect", tmp_path / "x.json", settings={"more than a pipe holds": "x" * 1_000_000})
    assert caught.value.code == "data_reader_died"


def test_a_page_that_goes_on_ends_the_reader(services: Services, tmp_path: Path) -> None:
    file = tmp_path / "big.jsonl"
    file.write_bytes(ROW * 400_000)

    class GoneOn(BaseException):
        pass

    def leave(share: float) -> None:
        raise GoneOn

    with pytest.raises(GoneOn):
        versions.import_file(services, file, progress=leave)
    mine = psutil.Process().children(recursive=True)
    assert not [p for p in mine if "reading_process" in " ".join(p.cmdline())]
    assert not [p for p in (services.data_dir / "datasets").iterdir() if p.name.startswith(".new")]


def test_shipped_and_used_sets_stay(services: Services) -> None:
    with pytest.raises(UserError) as caught:
        datasets.delete(services, "japanese")
    assert caught.value.code == "dataset_shipped"


def test_every_shipped_set_is_clean(services: Services) -> None:
    summaries = [d for d in datasets.list_datasets(services) if d.shipped]
    assert {d.id for d in summaries} == {"abilities", "arithmetic", "company_facts", "japanese", "preference", "text_to_sql"}
    assert all(d.errors == d.warnings == 0 and d.title["ja"] and d.description["ja"] for d in summaries)


def test_held_out_questions_are_never_trained_on(services: Services) -> None:
    info = datasets.find_dataset(services, "company_facts")
    prompts = datasets.held_out_prompts(info.path, 12)
    assert len(prompts) == 12
    trained = (info.path / "train.jsonl").read_text(encoding="utf-8")
    assert not [p for p in prompts if p in trained]
    checks = (datasets.find_dataset(services, "abilities").path / "test.jsonl").read_text(encoding="utf-8").splitlines()
    questions = {line.split('"content": "')[1].split('"}')[0] for line in checks}
    assert not [q for q in questions if f'"{q}"' in trained]
