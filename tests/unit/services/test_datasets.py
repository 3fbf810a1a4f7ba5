"""Uploads: what can be used is kept as a whole, what cannot is refused and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tunesmith.errors import UserError
from tunesmith.services import datasets
from tunesmith.services.context import Services, build_services

ROW = b'{"prompt": "Hello!", "completion": "Hi."}\n'


@pytest.fixture
def services(data_dir: object) -> Iterator[Services]:
    built = build_services()
    yield built
    built.close()


def test_an_upload_is_kept_and_shown(services: Services) -> None:
    name = datasets.add_upload(services, "My rows (1).jsonl", ROW * 3 + b"broken\n")
    assert name == "my-rows-1"
    report = datasets.report(services, name)
    assert (report.summary.rows, report.summary.errors, report.duplicates) == ({"train": 3}, 1, 2)
    assert [(p.line, p.code) for p in report.problems] == [(4, "not_json")]
    assert datasets.rows(services, name, "train", search="hello")[0].messages[1]["content"] == "Hi."
    assert datasets.add_upload(services, "My rows (1).jsonl", ROW) == "my-rows-1-2"


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "data_file_empty"), (b"\xff\xfe", "data_not_utf8"), (b"nope\n", "data_no_usable_rows"), (b'{"a": 1}', "data_no_usable_rows")],
)
def test_a_bad_upload_leaves_nothing(services: Services, content: bytes, code: str) -> None:
    before = datasets.all_datasets(services)
    with pytest.raises(UserError) as caught:
        datasets.add_upload(services, "x.jsonl", content)
    assert caught.value.code == code
    assert datasets.all_datasets(services) == before


@pytest.mark.parametrize("name", ["../../evil.jsonl", "/etc/passwd", "...", "データ.jsonl", "a" * 300])
def test_file_names_lead_nowhere(services: Services, name: str) -> None:
    made = datasets.add_upload(services, name, ROW)
    assert (services.data_dir / "datasets" / made / "train.jsonl").read_bytes() == ROW


def test_delete_and_undo(services: Services) -> None:
    name = datasets.add_upload(services, "x.jsonl", ROW)
    datasets.delete(services, name)
    with pytest.raises(UserError):
        datasets.find_dataset(services, name)
    datasets.restore(services, name)
    assert datasets.find_dataset(services, name).id == name


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
