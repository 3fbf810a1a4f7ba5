"""Benchmarks as jobs: real workers, the shipped tasks and model; figures that follow from the rows, the same ones twice."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import orjson
import psutil
import pytest
from typer.testing import CliRunner

from tests.adapters import add_adapter
from tests.jobs.conftest import done, wait_for
from tunesmith import cli
from tunesmith.errors import UserError
from tunesmith.evaluation.benchmark_tasks import BenchmarkRules
from tunesmith.jobs.job import Job
from tunesmith.services import benchmarks, jobs, variants
from tunesmith.services.context import Services

CHOICE, ANSWER = "company_facts_choice", "company_facts_answer"
ACC = (CHOICE, "acc", "none")
needs_lm_eval = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="benchmarks need the extra eval")


@pytest.fixture
def end(services: Services) -> Callable[[str], Job]:
    def wait(job_id: str) -> Job:
        wait_for(lambda: jobs.find_job(services, job_id, jobs.EVALUATIONS).ended, 120)
        return jobs.find_job(services, job_id, jobs.EVALUATIONS)

    return wait


@pytest.fixture
def asked(services: Services) -> Iterator[list[variants.VariantInfo]]:
    """The base, and an adapter of it at three times its strength."""
    adapter = variants.find_variant(services, add_adapter(services.data_dir, "drawn", seed=1, size=0.1).id)
    return [variants.find_variant(services, "demo"), variants.with_strength(adapter, 3.0)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


@needs_lm_eval
def test_figures_follow_from_the_rows_and_come_out_twice(
    services: Services, asked: list[variants.VariantInfo], end: Callable[[str], Job]
) -> None:  # fmt: skip
    first = end(benchmarks.start(services, asked, [CHOICE, ANSWER], BenchmarkRules(num_fewshot=1, limit=10)))
    options = [word for variant in asked for word in ("--variant", variant.key)] + ["--task", CHOICE, "--task", ANSWER]
    shown = CliRunner().invoke(cli.app, ["benchmark", *options, "--fewshot", "1", "--limit", "10", "--json"])
    told = orjson.loads(shown.stdout)
    assert (shown.exit_code, told["status"], len(told["figures"])) == (0, "completed", 6)
    second = jobs.find_job(services, told["job"], jobs.EVALUATIONS)
    assert done(first) == {"figures": 6, "rows": 40, "truncated": 0}
    assert benchmarks.read_result(first) == benchmarks.read_result(second)
    assert benchmarks.samples_file(first).read_bytes() == benchmarks.samples_file(second).read_bytes()
    result = benchmarks.read_result(first)
    base, tuned = (variant.key for variant in asked)
    assert tuned.endswith("@3")
    rows = [line for line in read_lines(benchmarks.samples_file(first)) if line["task"] == CHOICE]
    prompts = {key: [row["prompt"] for row in rows if row["variant"] == key] for key in (base, tuned)}
    assert prompts[base] == prompts[tuned]  # the same examples stand before each question
    hits = {key: [float(row["answer"] == row["expected"]) for row in rows if row["variant"] == key] for key in (base, tuned)}
    for key, values in hits.items():
        cell = result.cells[ACC][key]
        assert (cell.value, cell.rows, cell.num_fewshot) == (mean(values), 10, 1)
        assert cell.stderr == pytest.approx((mean(values) * (1 - mean(values)) / 9) ** 0.5)
    cell = result.cells[ACC][tuned]
    assert cell.difference == pytest.approx(mean(hits[tuned]) - mean(hits[base]))
    assert cell.low is not None
    assert cell.high is not None
    assert cell.low <= cell.difference <= cell.high
    assert result.cells[ACC][base].difference is None
    assert (
        benchmarks.read_samples(first, CHOICE, "none")[0][base]["scores"]
        != benchmarks.read_samples(first, CHOICE, "none")[0][tuned]["scores"]
    )
    kept = orjson.loads(benchmarks.report_json(first))
    assert (kept["task_files"], kept["rules"]["limit"]) == ([f"{CHOICE}.yaml", f"{ANSWER}.yaml"], 10)
    assert str(services.data_dir) not in benchmarks.report_json(first).decode()


@needs_lm_eval
def test_a_cancelled_one_leaves_no_figures(
    services: Services, asked: list[variants.VariantInfo], end: Callable[[str], Job]
) -> None:  # fmt: skip
    job_id = benchmarks.start(services, asked, [CHOICE, ANSWER], BenchmarkRules())
    jobs.cancel(services, job_id, jobs.EVALUATIONS)
    job = end(job_id)
    assert job.status == "cancelled"
    assert not benchmarks.samples_file(job).exists()


def worker_of(job: Job) -> psutil.Process:
    return next(each for each in psutil.Process().children(recursive=True) if str(job.folder) in each.cmdline())


@pytest.mark.slow
@needs_lm_eval
def test_killed_in_the_middle_it_goes_on_with_the_tasks_that_are_left(
    services: Services, asked: list[variants.VariantInfo], end: Callable[[str], Job]
) -> None:
    """Four parts, killed when the first is there: it is not asked again, and the figures are those of one that was never ended."""
    rules = BenchmarkRules(num_fewshot=1, limit=10)
    whole = end(benchmarks.start(services, asked, [CHOICE, ANSWER], rules))
    job = jobs.find_job(services, benchmarks.start(services, asked, [CHOICE, ANSWER], rules), jobs.EVALUATIONS)
    first = job.folder / "parts" / "0-0.jsonl"
    wait_for(first.exists, 120)
    worker_of(job).kill()
    assert end(job.id).status == "stopped"
    assert not benchmarks.samples_file(job).exists()
    written = first.stat().st_mtime_ns
    shown = CliRunner().invoke(cli.app, ["benchmark", "--resume", job.id, "--json"], catch_exceptions=False)
    assert (shown.exit_code, orjson.loads(shown.stdout)["job"]) == (0, job.id)
    ended = end(job.id)
    assert done(ended) == done(whole)
    assert benchmarks.read_result(ended) == benchmarks.read_result(whole)
    assert benchmarks.samples_file(ended).read_bytes() == benchmarks.samples_file(whole).read_bytes()
    assert not first.parent.exists()
    assert written < (ended.folder / "results.json").stat().st_mtime_ns


@needs_lm_eval
def test_what_was_asked_stays_and_changed_tasks_are_refused(
    services: Services, asked: list[variants.VariantInfo], end: Callable[[str], Job]
) -> None:
    """A part that lies there is taken as it is, which proves that it is not asked again; then the task's rows change."""
    folder = benchmarks.tasks_folder(services)
    folder.mkdir(parents=True)
    rows = folder / "rows.jsonl"
    rows.write_text('{"q": "A?", "a": "b"}\n', encoding="utf-8")
    (folder / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\ntest_split: test\noutput_type: generate_until\n"
        "doc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\nmetric_list: [{metric: exact_match}]\ngeneration_kwargs: {max_gen_toks: 4}\n",
        encoding="utf-8",
    )
    job = end(benchmarks.start(services, asked[:1], ["mine"], BenchmarkRules()))
    done(job)
    figure = orjson.loads((job.folder / "results.json").read_bytes())["figures"][0]
    part = job.folder / "parts" / "0-0.jsonl"
    part.parent.mkdir()
    part.write_bytes(orjson.dumps({"figures": [figure | {"value": 0.125}], "truncated": 3}) + b"\n")
    benchmarks.resume(services, job.id)
    again = end(job.id)
    assert [cell.value for cells in benchmarks.read_result(again).cells.values() for cell in cells.values()] == [0.125]
    assert benchmarks.read_result(again).truncated == {"model:demo": 3}
    rows.write_text('{"q": "A?", "a": "c"}\n', encoding="utf-8")
    benchmarks.resume(services, job.id)
    error = end(job.id).error
    assert error is not None
    assert (error.code, error.facts["file"]) == ("task_changed", "mine.yaml")


def test_what_cannot_begin(services: Services, asked: list[variants.VariantInfo], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(benchmarks, "is_installed", lambda: True)
    broken = tmp_path / "hostile.yaml"
    broken.write_text("task: t\nprocess_docs: !function utils.run\n", encoding="utf-8")
    for code, who, tasks in (
        ("benchmark_without_variants", [], [CHOICE]), ("benchmark_without_tasks", asked, []),
        ("benchmark_task_twice", asked, [CHOICE, CHOICE]), ("task_runs_code", asked, [str(broken)]),
        ("task_runs_code", asked, [str(tmp_path)]), ("file_missing", asked, [str(tmp_path / "absent.yaml")]),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            benchmarks.start(services, who, tasks, BenchmarkRules())
        assert caught.value.code == code
    monkeypatch.setattr(benchmarks, "is_installed", lambda: False)
    with pytest.raises(UserError, match=r"benchmark_not_installed.*pip install"):
        benchmarks.start(services, asked, [CHOICE], BenchmarkRules())
    assert not jobs.list_jobs(services, benchmarks.KIND, shelf=jobs.EVALUATIONS)


def test_own_task_files_are_listed_with_the_shipped_ones(services: Services) -> None:
    folder = benchmarks.tasks_folder(services)
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("task: t\nclass: a.B\n", encoding="utf-8")
    found = {task.path.name: task for task in benchmarks.local_tasks(services)}
    assert {"mine.yaml", f"{CHOICE}.yaml", f"{ANSWER}.yaml"} == set(found)
    problem = found["mine.yaml"].problem
    assert problem is not None
    assert problem.code == "task_key_refused"
    assert benchmarks.find_tasks(services, [CHOICE, "arc_easy"]) == ([found[f"{CHOICE}.yaml"].path], ["arc_easy"])
