"""Compare runs: none, one, several, gone, failed and foreign ones, in both languages."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from tests.ui.conftest import add_run, everything_visible
from tests.ui.test_pages import assert_healthy
from tunesmith.i18n import catalog
from tunesmith.i18n.catalog import t
from tunesmith.services import training
from tunesmith.services.context import Services
from tunesmith.services.curves import PANELS
from tunesmith.services.run_colours import run_colours
from tunesmith.settings.files import to_yaml
from tunesmith.store.experiments import Experiment
from tunesmith.training.rewards.registry import REWARDS
from tunesmith.ui import overlay_curves
from tunesmith.ui.overlay_curves import BEST_LOOK

OpenPage = Callable[..., AppTest]
VIEWS = ("curves", "settings", "sweep", "answers")


def add_sweep(services: Services, rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2)) -> list[Experiment]:
    """Write ended runs that differ in the learning rate; the second one has the lowest held-out loss."""
    runs = []
    for number, rate in enumerate(rates):
        run = add_run(services, "completed", name=f"rate {rate}", group="sweep-1")
        folder = services.store.folder(run.id)
        config = training.parse_config(folder.config.read_text(encoding="utf-8"))
        text = to_yaml(config).replace(f"learning_rate: {config.learning_rate}", f"learning_rate: {rate:f}")
        folder.config.write_text(text, encoding="utf-8")
        with folder.metrics.open("ab") as metrics:
            metrics.write(b'{"attempt":1,"step":10,"val_loss":%f}\n' % (0.5 + abs(number - 1)))
        runs.append(run)
    return runs


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("count", [1, 3])
def test_every_view_is_drawn(open_page: OpenPage, services: Services, lang: str, view: str, count: int) -> None:
    add_sweep(services, (1e-4, 1e-3, 1e-2)[:count])
    app = open_page("overlay", lang, view=view)
    assert_healthy(app)
    assert len(app.multiselect(key="overlay_runs").value) == count
    if lang == "ja":
        assert not [words for words in everything_visible(app) if words.startswith("overlay.")]


def test_the_address_chooses_and_follows(open_page: OpenPage, services: Services) -> None:
    first, second, third = add_sweep(services)
    app = open_page("overlay", runs=f"{second.id},{first.id}")
    assert_healthy(app)
    assert app.multiselect(key="overlay_runs").value == [second.id, first.id]
    app.multiselect(key="overlay_runs").set_value([first.id]).run()
    assert app.multiselect(key="overlay_runs").value == [first.id]
    assert first.id in app.query_params["runs"]
    app.query_params["runs"] = third.id
    assert app.run().multiselect(key="overlay_runs").value == [third.id]


def test_what_is_gone_is_named(open_page: OpenPage, services: Services) -> None:
    first, second, _ = add_sweep(services)
    app = open_page("overlay", runs=f"{second.id},{first.id},20200101-000000-abcdef,../x", view="curves")
    assert_healthy(app)
    assert app.multiselect(key="overlay_runs").value == [second.id, first.id]
    assert [w.value for w in app.warning] == [t("overlay.missing", names="20200101-000000-abcdef, ../x")]


def test_the_newest_three_are_shown_at_first_and_no_run_is_a_choice_too(open_page: OpenPage, services: Services) -> None:
    runs = [add_run(services, "completed", name=f"run {n}") for n in range(4)]
    app = open_page("overlay")
    assert app.multiselect(key="overlay_runs").value == [run.id for run in reversed(runs[1:])]
    app.multiselect(key="overlay_runs").set_value([]).run()
    assert_healthy(app)
    assert t("overlay.choose_some") in [c.value for c in app.caption]


def test_a_whole_sweep_is_taken_at_once(open_page: OpenPage, services: Services) -> None:
    sweep = add_sweep(services)
    for n in range(3):
        add_run(services, "completed", name=f"other {n}")
    app = open_page("overlay")
    app.selectbox(key="overlay_group").set_value("sweep-1").run()
    assert_healthy(app)
    assert app.multiselect(key="overlay_runs").value == [run.id for run in sweep]


def test_the_table_marks_the_best_run_of_each_metric(open_page: OpenPage, services: Services) -> None:
    runs = add_sweep(services)
    app = open_page("overlay", runs=",".join(run.id for run in runs))
    frame = app.dataframe[0].value
    assert list(frame["val_loss last"]) == [1.5, 0.5, 1.5]
    looks = app.dataframe[0].proto.arrow_data.styler
    with pa.ipc.open_stream(looks.display_values) as reader:
        shown = reader.read_all().to_pandas()
    marked = shown.map(lambda value: str(value).startswith("★"))
    assert [list(row[row].index) for _, row in marked.iterrows()].count([]) == 2
    assert shown["val_loss best"].tolist()[1] == "★ 0.5"
    colours = run_colours(run.id for run in runs)
    assert all(colour in looks.styles for colour in (*colours.values(), BEST_LOOK))


def test_settings_that_differ_stand_first_and_search_finds_the_others(open_page: OpenPage, services: Services) -> None:
    runs = add_sweep(services)
    app = open_page("overlay", runs=",".join(run.id for run in runs), view="settings")
    frame = app.dataframe[0].value
    assert list(frame["key"]) == ["learning_rate"]
    assert list(frame.iloc[0, 1:4]) == ["0.0001", "0.001", "0.01"]
    app.toggle(key="overlay_only").set_value(False).run()
    app.text_input(key="overlay_search").set_value("Batch size").run()
    assert list(app.dataframe[0].value["key"]) == ["batch_size"]
    app.text_input(key="overlay_search").set_value("no such words").run()
    assert t("overlay.no_settings") in [i.value for i in app.info]


def test_the_best_run_of_a_sweep_is_told_and_run_again(open_page: OpenPage, services: Services) -> None:
    runs = add_sweep(services)
    add_run(services, "queued", name="waiting")
    app = open_page("overlay", runs=",".join([*(run.id for run in runs), services.store.all()[0][0].id]), view="sweep")
    assert_healthy(app)
    assert "rate 0.001" in app.success[0].value
    assert "Learning rate 0.001" in app.success[0].value
    next(b for b in app.button if b.label == t("overlay.again", name="rate 0.001")).click().run()
    assert_healthy(app)
    assert app.session_state["train_initial"].learning_rate == 0.001


def test_failed_and_empty_runs_are_told_not_hidden(open_page: OpenPage, services: Services) -> None:
    failed, queued = add_run(services, "failed"), add_run(services, "queued")
    for run in (failed, queued):
        services.store.folder(run.id).metrics.unlink()
        services.store.folder(run.id).events.unlink()
    for view in VIEWS:
        app = open_page("overlay", view=view, runs=f"{failed.id},{queued.id}")
        assert_healthy(app)
    app = open_page("overlay", view="curves", runs=failed.id)
    assert t("overlay.no_metrics") in [i.value for i in app.info]


def test_other_runs_offer_other_settings(open_page: OpenPage, services: Services) -> None:
    """What was chosen among the settings of some runs is not asked of others, of another method and metric."""
    runs = add_sweep(services)
    others = [add_run(services, "completed", name=f"policy {number}") for number in range(2)]
    for number, other in enumerate(others):
        folder = services.store.folder(other.id)
        folder.metrics.write_bytes(b'{"attempt":1,"step":1,"reward":%f,"elapsed_seconds":1.0}\n' % (0.5 + number))
        folder.config.write_text(folder.config.read_text().replace("seed: 0", f"seed: {number}"))
    app = open_page("overlay", runs=",".join(run.id for run in runs), view="sweep")
    app.selectbox(key="overlay_metric").set_value("train_loss").run()
    assert app.selectbox(key="overlay_against").value == "learning_rate"
    app.multiselect(key="overlay_runs").set_value([others[0].id]).run()
    assert_healthy(app)
    assert app.selectbox(key="overlay_metric").value == "reward"
    app.multiselect(key="overlay_runs").set_value([runs[2].id, *(other.id for other in others)]).run()
    assert_healthy(app)
    assert app.selectbox(key="overlay_against").value == "seed"
    assert "policy 1" in app.success[0].value


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_every_metric_has_a_title_of_its_own(monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    monkeypatch.setattr(overlay_curves, "t", lambda key, **values: catalog.t(key, lang, **values))
    metrics = {name for panels in PANELS.values() for panel in panels for name in panel.metrics if not name.endswith("/")}
    metrics |= {f"reward/{name}" for name in REWARDS} | {"reward/mine", "val_perplexity", "seconds_per_step", "own_figure"}
    titles = [overlay_curves.metric_title(name) for name in metrics]
    assert len(set(titles)) == len(metrics)


def test_runs_may_be_called_like_columns(open_page: OpenPage, services: Services) -> None:
    runs = [add_run(services, "completed", name=name) for name in ("key", "dot", "the metric")]
    for view in VIEWS:
        assert_healthy(open_page("overlay", view=view, runs=",".join(run.id for run in runs)))
