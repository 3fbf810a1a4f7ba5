"""Names that people gave, where pages read Markdown: shown as they are, with the marks in them escaped once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.util import AttributeDictionary

from tests.adapters import add_adapter
from tests.ui.conftest import add_run, everything_visible
from tests.ui.test_benchmark_view import add_ended
from tests.ui.test_evaluate_page import put_ended
from tests.ui.test_judge_view import add_judgement
from tunesmith.access.people import TRAINER, Person
from tunesmith.evaluation.judging import JudgeRules
from tunesmith.i18n.catalog import t
from tunesmith.i18n.markdown import as_text
from tunesmith.jobs import job as job_files
from tunesmith.jobs.job import END, PROGRESS, REQUEST, JobFolders
from tunesmith.services import dataset_versions, jobs
from tunesmith.services.context import Services
from tunesmith.store.files import write_json
from tunesmith.store.locks import ProcessLock
from tunesmith.ui import job_view, session

OpenPage = Callable[..., AppTest]
NAME = "<answer> *sft* [v1]"


@pytest.fixture(autouse=True)
def _first_rows_are_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest cannot select a row of a table."""
    draw = st.dataframe

    def selected(*args: Any, **options: Any) -> Any:
        drawn = draw(*args, **options)
        return AttributeDictionary({"selection": AttributeDictionary({"rows": [0]})}) if "on_select" in options else drawn

    monkeypatch.setattr(st, "dataframe", selected)


def told(app: AppTest) -> list[str]:
    """Return what is read as Markdown and holds the name: each as it is, escaped once."""
    assert not app.exception
    helps = [element.help or "" for kind in ("button", "metric") for element in getattr(app, kind)]
    labels = [element.label for element in app.slider]
    found = [words for words in [*everything_visible(app), *labels, *helps] if "sft*" in words or r"sft\*" in words]
    assert found
    assert [words for words in found if words.count("sft") != words.count(as_text(NAME))] == []
    return found


def begins(found: Iterable[str], key: str, **facts: object) -> bool:
    """Return whether one of these begins as the words of a key do."""
    return any(words.startswith(t(key, **facts)) for words in found)


def add_job(services: Services, request: dict[str, Any], result: dict[str, Any], shelf: str = jobs.JOBS) -> None:
    folders = JobFolders(services.data_dir / shelf)
    write_json(folders.folder(folders.create(request)) / END, {"status": "completed", "result": result})


def test_an_evaluation(services: Services, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_files, "_start_worker", lambda *_: None)
    keys = [f"adapter:{add_adapter(services.data_dir, name, seed).id}" for seed, name in enumerate((NAME, f"{NAME} again"))]
    seen = {"variants": keys[:1], "data": NAME, "exact": 1, "near": 0, "prompts": 12, "matches": []}
    gone = {"variants": keys[:1], "data": NAME, "problem": {"code": "file_missing", "facts": {}}}
    metrics: dict[str, list[list[float | None]]] = {"exact_match": [[1.0] * 10 + [0.0] * 2, [0.0] * 12]}
    found = told(open_page("evaluate", evaluation=put_ended(services, keys, metrics, contamination=[seen, gone])))
    for words in (
        t("evaluation.contaminated", exact=1, near=0, prompts=12, data=as_text(NAME), names=as_text(NAME)),
        t("evaluation.training_unreadable", data=as_text(NAME), names=as_text(NAME)),
        t("evaluation.training_unknown", names=as_text(f"{NAME} again")),
        t("evaluation.verdict_worse", candidate=as_text(f"{NAME} again"), best=as_text(NAME)),
        as_text(NAME), as_text(f"{NAME} again"),  # over the answers of a row
    ):  # fmt: skip
        assert words in found
    found = told(open_page("evaluate", evaluation=put_ended(services, keys, {"exact_match": [[0.0] * 12, [0.0] * 12]})))
    earlier = t("evaluation.of_earlier", name=as_text(NAME), evaluation=as_text("An *evaluation*"))
    assert begins(found, "evaluation.verdict_worse", candidate=as_text(f"{NAME} again"), best=earlier)
    assert f"{as_text(f'{NAME} again')}: {t('evaluation.note_all_equal')}" in found


@pytest.mark.parametrize("mode", ["pairwise", "rubric"])
def test_a_judgement(services: Services, open_page: OpenPage, mode: str) -> None:
    rules = JudgeRules(mode=mode, criteria=("right",))
    judgement = add_judgement(services, rules, said=None if mode == "pairwise" else lambda *_: "right: 8")
    path = JobFolders(services.data_dir / jobs.EVALUATIONS).folder(judgement) / REQUEST
    request = orjson.loads(path.read_bytes())
    for variant, name in zip(request["variants"], (NAME, f"{NAME} again"), strict=True):
        variant["name"] = name
    write_json(path, request | {"name": NAME, "data": NAME, "judge": request["judge"] | {"name": NAME}})
    found = told(open_page("evaluate", view="judge"))
    assert begins(found, "judge.by", judge=as_text(NAME), data=as_text(f"{NAME} / test"), time="")
    assert begins(found, "judge.answer_of", name=as_text(NAME))
    assert len(found) >= (8 if mode == "pairwise" else 4)


def test_a_benchmark(services: Services, open_page: OpenPage) -> None:
    path = add_ended(services) / REQUEST
    request = orjson.loads(path.read_bytes())
    write_json(path, request | {"name": NAME, "variants": [variant | {"name": NAME} for variant in request["variants"]]})
    assert len(told(open_page("evaluate", view="benchmark"))) >= 4  # heading, inputs cut off, two prompts


def test_a_fusion(services: Services, open_page: OpenPage) -> None:
    records = [add_adapter(services.data_dir, name, seed) for seed, name in enumerate((NAME, f"{NAME} again"))]
    adapters = [{"id": record.id, "name": record.name} for record in records]
    remark = {"code": "opposed", "adapters": [0, 1], "value": -0.5}
    module = {"module": "model.layers.0.self_attn.q_proj", "cosine": [[1, 0], [0, 1]]}
    add_job(services, {"kind": "map_conflicts", "adapters": adapters}, {"modules": [module], "remarks": [remark]})
    point = {"weights": [0.5, 0.5], "loss": 1.0}
    add_job(services, {"kind": "sweep_weights", "adapters": adapters}, {"points": [point], "best": point})
    app = open_page("fusion")
    app.session_state["fusion_adapters"] = [record.id for record in records]
    for layered in ("groups", "curves"):
        app.session_state["fusion_layered"] = layered
        found = told(app.run())
        assert {as_text(NAME), as_text(f"{NAME} again")} <= set(found)
        assert begins(found, "fusion.sweep_best", weights=f"{as_text(NAME)} 0.5, {as_text(f'{NAME} again')} 0.5", loss="1.000")
    assert any(r"\] again" in words and "↔" in words for words in found)


def _draw_jobs() -> None:
    from tunesmith.ui.job_view import draw_jobs

    draw_jobs(("export_gguf",), print, shelf="evaluations")


def test_jobs(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = JobFolders(services.data_dir / jobs.EVALUATIONS)
    add_job(services, {"kind": "export_gguf", "name": NAME, "owner": NAME}, {}, jobs.EVALUATIONS)
    running = folders.folder(folders.create({"kind": "export_gguf", "name": NAME}))
    write_json(running / PROGRESS, {"phase": "", "share": 0.5})
    monkeypatch.setattr(session, "person", lambda: Person("Bob", TRAINER))
    lock = ProcessLock(running / job_files.LOCK)
    lock.acquire()
    found = told(AppTest.from_function(_draw_jobs, default_timeout=60).run())
    lock.release()
    questions: list[str] = []
    monkeypatch.setattr(job_view, "ask_delete", lambda question, _: questions.append(question))
    monkeypatch.setattr(session, "person", lambda: Person(NAME, TRAINER))
    app = AppTest.from_function(_draw_jobs, default_timeout=60).run()
    next(button for button in app.button if button.label == t("common.delete")).click().run()
    assert questions == [t("job.delete_results", name=as_text(NAME))]
    assert t("error.owned_by_another", owner=as_text(NAME)) in found
    assert len(found) == 3  # the running one, the ended one, why it cannot be deleted


def test_the_queue_and_data(services: Services, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    add_run(services, "queued", name=NAME, owner=NAME, group=NAME)
    line, owner = t("queue.line", model="demo", data="company_facts"), t("queue.owner", name=NAME)
    assert " · ".join(map(as_text, (line, NAME, owner))) in told(open_page("training", view="queue"))
    rows = services.data_dir / "rows.jsonl"
    rows.write_text('{"prompt": "a?", "completion": "b"}\n')
    made = dataset_versions.import_file(services.of(Person(NAME, TRAINER)), rows, "theirs")
    monkeypatch.setattr(session, "person", lambda: Person("Bob", TRAINER))
    app = open_page("dataset", data=made)
    assert any(words.endswith(t("dataset.by_owner", name=as_text(NAME))) for words in told(app))
    app.session_state["about"] = t("dataset.quality")
    next(button for button in app.run().button if button.label == t("quality_page.check")).click().run()
    assert t("quality_page.of_another", owner=as_text(NAME)) in told(app)
