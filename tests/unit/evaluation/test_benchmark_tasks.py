"""Task files: what is taken, and everything that would run code, read elsewhere or hide a mistake is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tunesmith.errors import UserError
from tunesmith.evaluation.benchmark_results import differences
from tunesmith.evaluation.benchmark_tasks import list_tasks, look_at, read_task
from tunesmith.system.paths import DEMO_TASKS

GOOD = """
task: capitals
dataset_path: json
dataset_kwargs:
  data_files:
    test: rows.jsonl
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "rows.jsonl").write_text('{"question": "Q", "choices": ["a", "b"], "answer": 1}\n' * 3, encoding="utf-8")
    (tmp_path / "outside.jsonl").write_text('{"secret": 1}\n', encoding="utf-8")

    def put(text: str = GOOD, more: str = "", **swaps: str) -> Path:
        for old, new in swaps.items():
            assert f"{old}:" in text
            text = "\n".join(f"{line.split(':')[0]}: {new}" if line.strip().startswith(f"{old}:") else line for line in text.split("\n"))
        path = folder / "task.yaml"
        path.write_text(text + more, encoding="utf-8")
        return path

    return put


def test_a_task_is_read_with_its_rows(write: Write) -> None:
    content = read_task(write())
    assert content.config["task"] == "capitals"
    assert {"dataset_path", "dataset_kwargs"}.isdisjoint(content.config)
    assert content.read_rows() == {"test": [{"question": "Q", "choices": ["a", "b"], "answer": 1}] * 3}
    task = look_at(write())
    assert (task.name, task.kind, task.rows, task.problem) == ("capitals", "multiple_choice", 3, None)


def test_the_shipped_tasks_are_whole() -> None:
    found = list_tasks([DEMO_TASKS])
    assert [(task.name, task.rows) for task in found] == [("company_facts_answer", 12), ("company_facts_choice", 12)]
    assert not any(task.problem for task in found)


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("task_runs_code", "process_docs: !function utils.process\n"),
        ("task_runs_code", "description: !!python/object/apply:os.system ['true']\n"),
        ("task_runs_code", "description: !!str text\n"),
        ("task_runs_code", "metadata: &all {version: 1}\nnum_fewshot: *all\n"),
        ("task_key_refused", "class: pathlib.Path\n"),
        ("task_key_refused", "unsafe_code: true\n"),
        ("task_key_refused", "include: ../other.yaml\n"),
        ("task_key_refused", "process_docs: utils.process\n"),
        ("task_key_refused", "process_results: utils.process\n"),
        ("task_key_refused", "custom_dataset: utils.load\n"),
        ("task_key_refused", "use_prompt: promptsource:all\n"),
        ("task_key_refused", "doc_to_image: picture\n"),
        ("task_key_refused", "dataset_name: script\n"),
        ("task_key_refused", "group: mine\n"),
        ("task_key_refused", "5: five\n"),
        ("task_key_refused", "metric_list: [{metric: acc, hf_evaluate: true}]\n"),
        ("task_key_refused", "metric_list: acc\n"),
        ("task_key_refused", "generation_kwargs: {trust_remote_code: true}\n"),
        ("task_key_refused", "fewshot_config: {process_docs: utils.process}\n"),
        ("task_key_refused", "filter_list: [{name: a, filter: [], code: b}]\n"),
        ("task_value_refused", "metric_list: [{metric: someone/their_metric}]\n"),
        ("task_value_refused", "metric_list: [{aggregation: mean}]\n"),
        ("task_value_refused", "filter_list: [{name: a, filter: [{function: custom}]}]\n"),
        ("task_value_refused", "fewshot_config: {sampler: somewhere.Sampler}\n"),
        ("task_incomplete", "fewshot_split: train\n"),
        ("task_value_refused", "metric_list: [{metric: [acc]}]\n"),
        ("task_value_refused", "filter_list: [{name: a, filter: [{function: [take_first]}]}]\n"),
        ("task_value_refused", "fewshot_config: {sampler: [first_n]}\n"),
        ("yaml_unreadable", "seen: 2026-02-31\n"),
        ("yaml_unreadable", f"many: {'9' * 5000}\n"),
        ("yaml_unreadable", "a: [\n"),
        ("yaml_unreadable", "- a list\n"),
    ],
)
def test_what_a_task_may_not_have(write: Write, code: str, more: str) -> None:
    with pytest.raises(UserError) as caught:
        read_task(write(more=more))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("code", "swap"),
    [
        ("task_file_outside", {"test": "../outside.jsonl"}),
        ("task_file_outside", {"test": "/etc/passwd"}),
        ("task_file_outside", {"test": "link.jsonl"}),
        ("file_missing", {"test": "https://example.org/rows.jsonl"}),
        ("task_file_outside", {"test": "task.yaml"}),
        ("file_missing", {"test": "absent.jsonl"}),
        ("task_incomplete", {"test": "[]"}),
        ("task_incomplete", {"test": "[3]"}),
        ("task_value_refused", {"dataset_path": "someone/their_data"}),
        ("task_value_refused", {"output_type": "run"}),
        ("task_incomplete", {"task": "''"}),
        ("task_incomplete", {"task": "[a, b]"}),
        ("task_incomplete", {"test_split": "train"}),
        ("task_incomplete", {"test_split": ""}),
        ("task_incomplete", {"test_split": "[test]"}),
        ("task_value_refused", {"output_type": "[multiple_choice]"}),
        ("task_file_outside", {"test": '"a\\0.jsonl"'}),
        ("task_file_outside", {"test": "a" * 5000 + ".jsonl"}),
    ],
)
def test_where_a_task_may_not_look(write: Write, code: str, swap: dict[str, str]) -> None:
    path = write()
    (path.parent / "link.jsonl").symlink_to(path.parent.parent / "outside.jsonl")
    with pytest.raises(UserError) as caught:
        read_task(write(**swap))
    assert caught.value.code == code


def test_files_that_are_no_text_or_no_rows(write: Write) -> None:
    path = write()
    path.write_bytes(b"\xff\xfe\x00task")
    assert look_at(path).problem is not None
    path = write()
    (path.parent / "rows.jsonl").write_text('{"a": 1}\n[2]\nnot JSON\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"task_data_broken.*rows=1, lines=3"):
        read_task(path).read_rows()
    path.write_bytes(b"# " + b"a" * 1_000_001)
    with pytest.raises(UserError, match="task_too_large"):
        read_task(path)


def sample(variant: str, row: int, **values: float | None) -> dict[str, object]:
    return {"variant": variant, "task": "t", "filter": "none", "row": row, "values": values}


def test_differences_are_paired_by_row() -> None:
    """Rows 0 to 3 of the base are 0, 0, 1, 1, the variant's 1, 1, 1, 0: two won, one lost, mean difference 0.25."""
    base = [sample("base", row, acc=float(row > 1), bleu=None) for row in range(5)]
    own = [sample("own", row, acc=value, bleu=None) for row, value in ((3, 0.0), (2, 1.0), (1, 1.0), (0, 1.0))]
    (found,) = differences([*base, *own, sample("other", 0, acc=1.0)], {"own": "base"})
    assert (found["variant"], found["base"], found["metric"], found["rows"]) == ("own", "base", "acc", 4)
    assert (found["wins"], found["ties"], found["losses"], found["difference"]) == (2, 1, 1, 0.25)
    assert found["low"] <= 0.25 <= found["high"]
