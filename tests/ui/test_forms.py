"""The form of a run: what is shown is what is trained."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from tunesmith.i18n.catalog import t
from tunesmith.services.context import Services
from tunesmith.settings.files import from_mapping, parse_yaml
from tunesmith.training.config import TrainConfig

OpenPage = Callable[..., AppTest]


def yaml_area(app: AppTest) -> str:
    return str(next(a for a in app.text_area if a.label == t("training.yaml")).value)


def test_a_change_in_the_form_reaches_the_yaml_and_the_run(open_page: OpenPage, services: Services) -> None:
    app = open_page("training")
    next(n for n in app.number_input if n.key.endswith(".iters")).set_value(7).run()
    next(n for n in app.number_input if n.key.endswith(".rank")).set_value(3).run()
    shown = from_mapping(TrainConfig, parse_yaml(yaml_area(app), "form"))
    assert (shown.iters, shown.lora_parameters.rank) == (7, 3)
    next(b for b in app.button if b.label == t("training.start")).click().run()
    (run,) = services.store.all()[0]
    saved = from_mapping(TrainConfig, parse_yaml(services.store.folder(run.id).config.read_text(), "run"))
    assert saved == shown


def test_a_pasted_yaml_fills_the_form(open_page: OpenPage) -> None:
    app = open_page("training")
    area = next(a for a in app.text_area if a.label == t("training.yaml"))
    area.set_value("model: demo\ndata: japanese\niters: 33\nlora_parameters: {rank: 5}\n").run()
    next(b for b in app.button if b.label == t("training.yaml_apply")).click().run()
    assert next(n for n in app.number_input if n.key.endswith(".iters")).value == 33
    assert next(n for n in app.number_input if n.key.endswith(".rank")).value == 5
    assert next(s for s in app.selectbox if s.key.endswith(".data")).value == "japanese"


def test_a_wrong_name_in_the_yaml_offers_the_nearest(open_page: OpenPage) -> None:
    app = open_page("training")
    next(a for a in app.text_area if a.label == t("training.yaml")).set_value("learning_rat: 1\n").run()
    next(b for b in app.button if b.label == t("training.yaml_apply")).click().run()
    assert t("error.setting_unknown", field="learning_rat", nearest="learning_rate") in [e.value for e in app.error]


def test_a_form_that_was_left_goes_on_as_it_was(open_page: OpenPage) -> None:
    app = open_page("training")
    next(n for n in app.number_input if n.key.endswith(".iters")).set_value(7).run()
    app.switch_page("../../../pages/settings.py").run()
    app.switch_page("../../../pages/training.py").run()
    assert next(n for n in app.number_input if n.key.endswith(".iters")).value == 7
    assert "iters: 7" in yaml_area(app)
