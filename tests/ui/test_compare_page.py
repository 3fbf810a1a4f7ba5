"""The Compare page on a store with a history: opened, coloured, thrown away and brought back; sets of prompts; faults."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.adapters import add_adapter
from tests.ui.conftest import everything_visible
from tests.ui.test_pages import assert_healthy
from tunesmith.i18n.catalog import t
from tunesmith.services import prompt_sets
from tunesmith.services.context import Services
from tunesmith.store.comparisons import Answer, Comparison, ComparisonStore, Round, Token
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.ui.answers import View, as_html, level_of

OpenPage = Callable[..., AppTest]


def say(*pieces: str, finish: str = "stop", first: float = -0.01) -> Answer:
    tokens = [Token(piece, hash(piece) % 1000, first if n == 0 else -0.2) for n, piece in enumerate(pieces)]
    return Answer((*tokens, Token("", 2, -0.1)), finish, 2.0, 0.5, "<|im_start|>user\nsent & <b>", 21)


def seed(data_dir: Path, comparison_id: str = "20260101-000000-abcdef", rounds: int = 1, question: str = "Is <b>*this*</b> $safe$?") -> str:
    add_adapter(data_dir, "mine")
    same = {"model": "demo", "model_path": str(DEMO_MODEL), "created_at": 1.0}
    variants = tuple(
        {**same, "key": key, "name": name, "strength": strength, "adapter_path": path}
        for key, name, strength, path in (
            ("model:demo", "demo", 1.0, None), ("adapter:mine", "mine", 1.0, "/a"), ("adapter:mine@0.5", "mine", 0.5, "/a"),
        )
    )  # fmt: skip
    answers = (say("Yes", " <i>", " $x"), say("Yes", " &amp;", first=-3.2), say("Yes", " <i>", " $x", finish="length"))
    each = Round(question, False, "", {}, answers)
    ComparisonStore(data_dir).save(Comparison(comparison_id, 2.0, variants, (each,) * rounds))
    return comparison_id


def show(app: AppTest, *names: str) -> AppTest:
    app.session_state["compare_view"] = list(names)
    return app.run()


def html_of(app: AppTest) -> str:
    return "".join(element.proto.body for element in app.get("html"))


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_an_old_comparison_is_opened_by_its_address(open_page: OpenPage, data_dir: Path, lang: str) -> None:
    app = open_page("compare", lang, comparison=seed(data_dir))
    assert_healthy(app)
    words = everything_visible(app)
    assert t("compare.kinds", lang, n=2) in " ".join(words)
    assert "mine" in words
    assert t("compare.cut", lang) in " ".join(words)
    assert t("compare.follow_up", lang) in words
    assert [box.value for box in app.text_input if box.key == "compare_strength-adapter:mine"] == ["1, 0.5"]


def test_tokens_are_coloured_and_the_fork_is_marked(open_page: OpenPage, data_dir: Path) -> None:
    app = show(open_page("compare", comparison=seed(data_dir)), "probabilities", "divergence", "sent")
    assert_healthy(app)
    drawn = html_of(app)
    assert drawn.count('class="answer"') == 3
    assert 'title="4.1% · log-probability -3.2 ·' in drawn  # exp(-3.2) = 0.0408
    assert drawn.count("fork") == drawn.count("<style>") + 1  # in one answer, besides the rules
    assert "&lt;i&gt;" in drawn
    assert "&amp;amp;" in drawn
    captions = " ".join(each.value for each in app.caption)
    assert t("compare.diverges", title="demo \\(model\\)", place=2, own="\\&amp\\;", other="\\<i\\>") in captions
    assert t("compare.diverges_not", title="demo \\(model\\)") in captions
    assert [each.value for each in app.code] == ["<|im_start|>user\nsent & <b>"] * 3


def test_levels_are_of_the_probability() -> None:
    levels = [level_of(math.log(share)) for share in (1, 0.91, 0.89, 0.51, 0.49, 0.21, 0.19, 0.06, 0.04)]
    assert levels == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert level_of(None) == 4
    plain = as_html(say("a"), View(), None)
    assert plain == '<span class="">a</span><span class=""></span>'


def test_one_is_thrown_away_and_brought_back(open_page: OpenPage, data_dir: Path) -> None:
    kept, gone = seed(data_dir, "20260101-000000-aaaaaa"), seed(data_dir, "20260102-000000-bbbbbb", question="long " * 400)
    app = open_page("compare", comparison=gone)
    app.button(key=f"delete-{gone}").click().run()
    assert_healthy(app)
    assert [each.id for each in ComparisonStore(data_dir).recent(9)] == [kept]
    app.button(key="compare-undo").click().run()
    assert_healthy(app)
    assert [each.id for each in ComparisonStore(data_dir).recent(9)] == [gone, kept]


def test_of_many_the_newest_are_shown(open_page: OpenPage, data_dir: Path) -> None:
    for number in range(22):
        seed(data_dir, f"20260101-0000{number:02}-aaaaaa")
    app = open_page("compare", comparison=seed(data_dir, "20260102-000000-aaaaaa", rounds=25))
    assert_healthy(app)
    captions = [each.value for each in app.caption]
    assert t("compare.history_more", n=20, all="23") in captions
    assert t("compare.history_more", n=20, all="25") in captions


@pytest.mark.parametrize("wanted", ["gone", "../../x", "20260101-000000-ffffff"])
def test_an_address_of_nothing_is_worded(open_page: OpenPage, wanted: str) -> None:
    app = open_page("compare", comparison=wanted)
    assert_healthy(app)
    assert len(app.error) == 1


def test_a_torn_comparison_is_worded(open_page: OpenPage, data_dir: Path) -> None:
    path = ComparisonStore(data_dir).root / f"{seed(data_dir)}.json"
    path.write_bytes(path.read_bytes().replace(b'"name"', b'"nome"'))
    app = open_page("compare", comparison=path.stem)
    assert_healthy(app)
    assert app.error


def test_faulty_strengths_are_worded(open_page: OpenPage, data_dir: Path) -> None:
    add_adapter(data_dir, "mine")
    app = open_page("compare")
    for text in ("many", "9", "0, 1, 2, 3, 4, 0.1, 0.2, 0.3, 0.4"):
        app.text_input(key="compare_strength-adapter:mine").set_value(text).run()
        assert_healthy(app)
        assert len(app.error) == 1, text
        assert next(each for each in app.button if each.label == t("compare.ask")).disabled
    app.text_input(key="compare_strength-adapter:mine").set_value("0.5, 2").run()
    assert not app.error


def test_prompt_sets_are_brought_and_deleted(open_page: OpenPage, services: Services) -> None:
    app = open_page("compare")
    next(each for each in app.button if each.label == t("compare.set_import")).click().run()
    assert_healthy(app)
    (made,) = prompt_sets.list_sets(services)
    assert app.selectbox(key="prompt_set").value == made.id
    assert t("compare.set_run", n=len(made.prompts)) in [each.label for each in app.button]
    app.button(key="delete-prompt-set").click().run()
    assert_healthy(app)
    assert prompt_sets.list_sets(services) == []
    app.button(key="prompt-set-undo").click().run()
    assert [each.id for each in prompt_sets.list_sets(services)] == [made.id]


def test_the_questions_shown_are_kept_in_a_set(open_page: OpenPage, services: Services, data_dir: Path) -> None:
    comparison = seed(data_dir, question="七たす五は？")
    app = open_page("compare", comparison=comparison)
    app.button(key=f"keep-now-{comparison}").click().run()
    assert_healthy(app)
    assert [each.prompts for each in prompt_sets.list_sets(services)] == [("七たす五は？",)]
