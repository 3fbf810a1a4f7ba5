"""The run page's record, report menu and the import of runs, drawn in every language."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from streamlit.testing.v1 import AppTest

from tests.ended_runs import add_ended_run
from tests.ui.test_pages import assert_healthy
from tests.unit.data.test_training_logs import REAL_OUTPUT
from tunesmith.i18n.catalog import t
from tunesmith.jobs.run_environment import record_environment
from tunesmith.services import run_packages, runs, training
from tunesmith.services.context import Services
from tunesmith.ui import run_titles, run_view
from tunesmith.ui.run_record import PARTS

REWARDED = """
model: demo
data: arithmetic
method: grpo
name: step 3, rate 2e-05
iters: 7
learning_rate: 2.0e-05
seed: 11
resume_adapter_file: {begin}
lora_parameters: {{rank: 4, scale: 4.0}}
num_layers: 4
policy:
  num_generations: 4
  rewards:
  - {{function: exact_match, weight: 2.0}}
  - {{function: target_length, weight: 0.5, options: {{tokens: 12}}}}
"""
OpenPage = Callable[..., AppTest]


def texts(app: AppTest) -> str:
    found = [e.value for kind in ("caption", "markdown", "info", "warning", "success") for e in getattr(app, kind)]
    return "\n".join([*found, *(b.label for b in app.button), *(code.value for code in app.code)])


def choose_part(app: AppTest, run_id: str, part: str, lang: str = "en") -> None:
    app.session_state[f"record-{run_id}"] = t(f"run.part_{part}", lang)
    app.run()


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_every_part_of_the_record_is_drawn(open_page: OpenPage, services: Services, lang: str) -> None:
    parent = add_ended_run(services, "parent")
    run = services.store.change(
        add_ended_run(services), continued_from=parent.id, imported={"source": "package", "file": "a.log", "at": 1e9, "owner": "bob"}
    )
    record_environment(services.store.folder(run.id), run.__dict__ | {"attempt": 1}, "openblas")
    app = open_page("training", lang, run=run.id)

    def shown() -> list[str]:
        return [str(cell) for frame in app.dataframe for cell in frame.value.astype(str).to_numpy().ravel()]

    wanted: dict[str, Callable[[], bool]] = {
        "events": lambda: t("event.checkpoint", lang, step=4) in shown(),
        "log": lambda: "step 4/4 loss 0.5" in texts(app),
        "settings": lambda: services.store.folder(run.id).config.read_text().strip() in [code.value.strip() for code in app.code],
        "environment": lambda: {t("environment.data_hash", lang), "mlx-lm"} <= set(shown()),
        "files": lambda: "adapter/adapters.safetensors" in shown(),
        "lineage": lambda: "parent" in [b.label for b in app.button] and "bob" in texts(app),
    }
    assert set(wanted) == set(PARTS)
    for part, is_there in wanted.items():
        choose_part(app, run.id, part, lang)
        assert_healthy(app)
        assert is_there(), part


def test_the_log_can_be_searched(open_page: OpenPage, services: Services) -> None:
    run = add_ended_run(services)
    services.store.folder(run.id).log.write_text("first line\nsecond LINE\nother\n")
    app = open_page("training", run=run.id)
    choose_part(app, run.id, "log")
    app.text_input(key=f"log-{run.id}").set_value("line").run()
    assert "first line\nsecond LINE" in [code.value for code in app.code]
    app.text_input(key=f"log-{run.id}").set_value("nothing like it").run()
    assert t("run.no_line") in [code.value for code in app.code]


def test_a_part_of_a_strangers_run_cannot_break_the_page(open_page: OpenPage, services: Services) -> None:
    run = add_ended_run(services)
    odd: list[dict[str, Any]] = [
        {"kind": 5}, {"kind": "alert", "code": "loss_not_finite", "facts": {"lang": 1}}, {"kind": "checkpoint"}, {"kind": "early_stop"},
        {"kind": "rows_cut", "count": {"a": 1}}, {"kind": "run_started", "rows": "x", "steps": [], "device": 1}, {"kind": "alert"},
        {"kind": "reward_skipped"}, {"kind": "sample"}, {"kind": "checkpoint", "step": 2, "time": 1e300},
    ]  # fmt: skip
    services.store.folder(run.id).events.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in odd))
    services.store.folder(run.id).environment.write_bytes(b'{"attempts":[{"versions":3,"attempt":[],"memory_bytes":"x"}]}')
    app = open_page("training", run=run.id)
    for part in PARTS:
        choose_part(app, run.id, part)
        assert_healthy(app)


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_an_ended_run_can_be_taken_along(open_page: OpenPage, services: Services, lang: str) -> None:
    run = add_ended_run(services)
    app = open_page("training", lang, run=run.id)
    labels = [element.label for element in app.get("download_button")]
    assert {t("report.html", lang), t("report.markdown", lang), t("report.csv", lang)} <= set(labels)
    assert any(t("package.download", lang, size="").rstrip("）)") in label for label in labels)


def test_a_large_run_is_packed_by_a_job(open_page: OpenPage, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(run_packages, "SMALL_BYTES", 1000)
    monkeypatch.setattr(run_packages, "start_pack", lambda *args: started.append(args[1:]))
    run = add_ended_run(services)
    app = open_page("training", run=run.id)
    app.toggle(key=f"{run.id}-checkpoints").set_value(True).run()
    next(b for b in app.button if b.key == f"{run.id}-start").click().run()
    assert started == [([run.id], True)]


def import_app(services: Services, lang: str) -> AppTest:
    def draw() -> None:
        from tunesmith.ui.run_import_view import draw_run_import

        draw_run_import()

    app = AppTest.from_function(draw, default_timeout=60)
    app.session_state["language"] = lang
    return app.run()


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_package_comes_in_by_the_page(services: Services, lang: str) -> None:
    run = add_ended_run(services, "carried")
    app = import_app(services, lang)
    assert next(b for b in app.button if b.label == t("run_import.start", lang)).disabled
    app.file_uploader[0].upload("runs.zip", run_packages.pack_small(services, [run.id]), "application/zip").run()
    next(b for b in app.button if b.label == t("run_import.start", lang)).click().run()
    assert_healthy(app)
    assert t("run_import.done", lang, n=1) in [s.value for s in app.success]
    assert t("run_import.open", lang, name="carried") in [b.label for b in app.button]
    assert len(services.store.all()[0]) == 2
    assert not list((services.data_dir / "uploads").iterdir())


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_log_comes_in_by_the_page(services: Services, lang: str) -> None:
    app = import_app(services, lang)
    app.file_uploader[0].upload("train.txt", REAL_OUTPUT.read_bytes(), "text/plain").run()
    app.text_input[0].set_value("elsewhere").run()
    next(b for b in app.button if b.label == t("run_import.start", lang)).click().run()
    assert_healthy(app)
    (run,) = services.store.all()[0]
    assert (run.name, run.imported["source"]) == ("elsewhere", "mlx-lm")


def test_a_hostile_package_is_worded(services: Services) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.writestr("../canary", "x")
    app = import_app(services, "en")
    app.file_uploader[0].upload("runs.zip", buffer.getvalue(), "application/zip").run()
    next(b for b in app.button if b.label == t("run_import.start")).click().run()
    assert not app.exception
    assert len(app.error) == 1
    assert "../canary" in app.error[0].value
    assert not services.store.all()[0]


def test_run_again_opens_the_form_with_every_setting(open_page: OpenPage, services: Services) -> None:
    """Rewards with their options, the adapter to begin from, a sweep's own values: what Start would launch is what was launched."""
    begin = add_ended_run(services, "begin")
    config = training.parse_config(REWARDED.format(begin=begin.id))
    run = add_ended_run(services, **{field.name: getattr(config, field.name) for field in dataclasses.fields(config)})
    app = open_page("training", run=run.id)
    next(b for b in app.button if b.label == t("run.again")).click().run()
    assert_healthy(app)
    launched = runs.snapshot(services, run.id).config
    assert launched.policy.rewards == config.policy.rewards
    assert app.session_state["train_initial"] == launched
    assert app.session_state["train_draft"] == launched, "the form's own widgets changed something"


def test_an_adapter_too_large_for_the_browser_says_where_it_lies(
    open_page: OpenPage, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add_ended_run(services)
    assert t("run.export") in [element.label for element in open_page("training", run=run.id).get("download_button")]
    monkeypatch.setattr(run_view, "LARGEST_DOWNLOAD_BYTES", 100)
    app = open_page("training", run=run.id)
    (button,) = (b for b in app.button if b.label == t("run.export"))
    assert button.disabled
    assert str(services.store.folder(run.id).adapter) in button.help


def test_a_list_to_choose_from_holds_the_newest_runs_and_the_one_that_is_shown(
    open_page: OpenPage, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_titles, "MOST_OFFERED", 2)
    runs = [add_ended_run(services, f"run {number}") for number in range(4)]
    offered = open_page("training", run=runs[0].id).selectbox[0].options
    assert [title.partition(" · ")[0] for title in offered] == ["run 3", "run 2", "run 0"]
    app = open_page("overlay", runs=runs[1].id)
    assert [title.partition(" · ")[0] for title in app.multiselect(key="overlay_runs").options] == ["run 3", "run 2", "run 1"]


def test_many_sample_prompts_are_a_few_cards_and_a_table(open_page: OpenPage, services: Services) -> None:
    run = add_ended_run(services)
    samples = [{"kind": "sample", "step": 0, "prompt": f"Question {n}?", "text": "?", "expected": ""} for n in range(9)]
    services.store.folder(run.id).events.write_bytes(b"".join(orjson.dumps(sample) + b"\n" for sample in samples))
    app = open_page("training", run=run.id)
    assert_healthy(app)
    assert [text.value for text in app.text if text.value.startswith("Question")] == ["Question 0?", "Question 1?", "Question 2?"]
    assert any(list(frame.value.iloc[:, 0]) == [f"Question {n}?" for n in range(9)] for frame in app.dataframe)
