"""The benchmarks view: how to install what it needs, the choice, figures of an ended one, in both languages."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from streamlit.testing.v1 import AppTest

from tests.ui.conftest import everything_visible
from tunesmith.evaluation.benchmark_tasks import BenchmarkRules
from tunesmith.i18n.catalog import t
from tunesmith.jobs import job as job_files
from tunesmith.services import benchmarks, jobs
from tunesmith.services.context import Services
from tunesmith.settings.files import to_mapping

OpenPage = Callable[..., AppTest]
KEYS = ("model:demo", "adapter:a@2")


def add_ended(services: Services, **rules: int) -> Path:
    """Write a benchmark that has ended: one row right for the adapter alone, one for both."""
    records = [
        {"key": key, "name": name, "model": "demo", "model_path": "/m", "adapter_path": path, "strength": strength, "step": 0, "run": ""}
        for key, name, path, strength in ((KEYS[0], "demo", "", 1.0), (KEYS[1], "facts", "/a", 2.0))
    ]
    folder = services.data_dir / jobs.EVALUATIONS / "20260101-000000-abcdef"
    folder.mkdir(parents=True)
    request = {
        "kind": "benchmark", "name": "demo facts · capitals", "variants": records, "task_files": ["/tasks/capitals.yaml"], "task_names": [],
        "rules": to_mapping(BenchmarkRules(**rules)), "created_at": time.time(), "folder": str(folder),
    }  # fmt: skip
    place = {"task": "capitals", "metric": "acc", "filter": "none"}
    figures = [
        {**place, "variant": key, "value": value, "stderr": 0.5, "rows": 2, "num_fewshot": 3, "higher_is_better": True}
        for key, value in zip(KEYS, (0.5, 1.0), strict=True)
    ]
    paired = {**place, "variant": KEYS[1], "base": KEYS[0], "difference": 0.5, "low": 0.0, "high": 1.0}
    found = {"v": 1, "figures": figures, "differences": [paired], "truncated": {KEYS[0]: 0, KEYS[1]: 7}}
    samples = [
        {"variant": key, "task": "capitals", "filter": "none", "row": row, "prompt": "Capital of Austria?", "expected": "Vienna",
         "answer": "Vienna" if row or key == KEYS[1] else "Oslo", "scores": [], "values": {"acc": 1.0}}
        for key in KEYS for row in range(2)
    ]  # fmt: skip
    (folder / "request.json").write_bytes(orjson.dumps(request))
    (folder / "end.json").write_bytes(orjson.dumps({"status": "completed", "result": {}}))
    (folder / "results.json").write_bytes(orjson.dumps(found))
    (folder / "samples.jsonl").write_bytes(b"".join(orjson.dumps(sample) + b"\n" for sample in samples))
    return folder


@pytest.mark.parametrize(("lang", "words"), [("en", "7 inputs were longer"), ("ja", "7 件の入力")])
def test_an_ended_benchmark(services: Services, open_page: OpenPage, lang: str, words: str) -> None:
    add_ended(services, limit=2)
    app = open_page("evaluate", lang, view="benchmark")
    assert not app.exception
    assert any(words in text for text in everything_visible(app))
    figures, differences, rows = (table.value for table in app.dataframe)
    assert list(figures.iloc[0])[-2:] == ["0.5 ± 0.5", "1 ± 0.5"]
    assert list(differences.iloc[0])[-1] == "+0.5 [+0, +1]"
    assert list(rows.iloc[0]) == [0, "Vienna", "Oslo", "Vienna"]


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_one_whose_process_died_goes_on(
    services: Services, open_page: OpenPage, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    folder = add_ended(services)
    (folder / "end.json").unlink()
    launched: list[str] = []
    monkeypatch.setattr(benchmarks, "is_installed", lambda: True)
    monkeypatch.setattr(job_files, "_start_worker", lambda folder, *_: launched.append(folder.name))
    app = open_page("evaluate", lang, view="benchmark")
    assert t("job.died_may_go_on", lang) in [each.value for each in app.warning]
    next(button for button in app.button if button.label == t("common.resume", lang)).click().run()
    assert not app.exception
    assert launched == [folder.name]


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_without_lm_eval_the_page_says_how_to_install_it(
    open_page: OpenPage, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(benchmarks, "is_installed", lambda: False)
    app = open_page("evaluate", lang, view="benchmark")
    assert not app.exception
    assert app.code[0].value == benchmarks.install_command()
    assert "pip install" in app.code[0].value
    assert "[eval]" in app.code[0].value
    assert not app.multiselect


def test_nothing_chosen_is_told_and_a_broken_task_file_is_named(
    services: Services, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(benchmarks, "is_installed", lambda: True)
    folder = benchmarks.tasks_folder(services)
    folder.mkdir()
    (folder / "mine.yaml").write_text("task: t\nclass: a.B\n", encoding="utf-8")
    app = open_page("evaluate", view="benchmark")
    assert any(warning.value.startswith("mine.yaml:") for warning in app.warning)
    app.multiselect(key="benchmark-files").set_value([])
    next(button for button in app.button if button.label == "Start benchmark").click().run()
    assert app.error[0].value == "Choose at least one task."
    app.text_input(key="benchmark-names").set_value("arc_easy").run()
    assert any("downloaded from the model hub" in info.value for info in app.info)
