"""The Compare page on a store with a history: opened, coloured, thrown away and brought back; sets of prompts; faults."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.adapters import add_adapter
from tests.ui.conftest import everything_visible
from tests.ui.test_pages import assert_healthy
from tunesmith.access.people import VIEWER, Person
from tunesmith.i18n.catalog import t
from tunesmith.inference.protocol import Delta
from tunesmith.inference.sampling import Sampling
from tunesmith.services import compare, prompt_sets
from tunesmith.services.context import Services
from tunesmith.services.variants import find_variant
from tunesmith.store.comparisons import Answer, Comparison, ComparisonStore, Round, Token
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.ui import session
from tunesmith.ui.answers import View, as_html, as_markdown, level_of

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
    assert t("compare.diverges", title="demo (model)", place=2, own="\\&amp;", other="\\<i\\>") in captions
    assert t("compare.diverges_not", title="demo (model)") in captions
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
    assert ComparisonStore(data_dir).ids() == [kept]
    app.button(key="compare-undo").click().run()
    assert_healthy(app)
    assert ComparisonStore(data_dir).ids() == [gone, kept]


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


def test_a_torn_comparison_is_worded_and_hides_no_other(open_page: OpenPage, data_dir: Path) -> None:
    path = ComparisonStore(data_dir).root / f"{seed(data_dir, '20260103-000000-abcdef')}.json"
    path.write_bytes(path.read_bytes().replace(b'"name"', b'"nome"'))
    seed(data_dir, question="An older question")
    app = open_page("compare", comparison=path.stem)
    assert_healthy(app)
    assert app.error
    assert t("compare.unreadable", names=path.stem) in [each.value for each in app.warning]
    assert "An older question" in [each.value for each in app.text]
    assert not any("are shown" in each.value for each in app.caption)


def test_answers_stand_as_they_were_written(open_page: OpenPage, data_dir: Path) -> None:
    written = "def __init__(self):\n    pay($5, $6) ![x](http://x.invalid/y.png)"
    comparison = ComparisonStore(data_dir).get(seed(data_dir))
    answers = (say(written), say(), say("", finish="length"))
    each = dataclasses.replace(comparison.rounds[0], answers=answers)
    ComparisonStore(data_dir).save(dataclasses.replace(comparison, rounds=(each,)))
    app = open_page("compare", comparison=comparison.id)
    assert_healthy(app)
    assert html.escape(written) in html_of(app)
    assert html_of(app).count(t("compare.silent")) == 2
    app = show(app, "formatted")
    assert_healthy(app)
    assert as_markdown(written) in [each.value for each in app.markdown]
    assert html.escape(written) not in html_of(app)


def test_markdown_keeps_lines_and_code_and_fetches_nothing() -> None:
    assert as_markdown("one\ntwo $5\n`a\\b $x`") == "one  \ntwo \\$5  \n`a\\b $x`"
    assert as_markdown("![x](y) :red[z] 12:30 :tada") == "\\![x](y) \\:red[z] 12:30 :tada"
    fence = "```sql\nSELECT '$'\n"
    assert as_markdown(f"a\n{fence}```\nb\n{fence}") == f"a  \n{fence}```  \nb  \n{fence}"


def test_what_is_opened_again_is_asked_as_before(open_page: OpenPage, data_dir: Path) -> None:
    comparison = ComparisonStore(data_dir).get(seed(data_dir))
    each = dataclasses.replace(comparison.rounds[0], system="Be brief.", sampling={"temperature": 0.7, "seed": 9})
    rounds = (dataclasses.replace(each, answers=each.answers[1:]),)
    ComparisonStore(data_dir).save(dataclasses.replace(comparison, rounds=rounds, variants=comparison.variants[1:]))
    app = open_page("compare", comparison=comparison.id)
    assert_healthy(app)
    assert "Be brief." in [area.value for area in app.text_area]
    numbers = {number.label: number.value for number in app.number_input}
    assert (numbers["Temperature"], numbers["Seed"]) == (0.7, 9)
    assert not app.toggle(key="compare_with_base").value  # it was not asked
    app.multiselect(key="compare_variants").set_value([]).run()
    app.button(key=f"open-{comparison.id}").click().run()
    assert app.multiselect(key="compare_variants").value == ["adapter:mine"]


def test_an_address_names_variants_with_their_strengths(open_page: OpenPage, data_dir: Path) -> None:
    add_adapter(data_dir, "mine")
    app = open_page("compare", variants="model:demo,adapter:mine@0.5,adapter:mine@2,adapter:gone")
    assert_healthy(app)
    assert [error.value for error in app.error] == [t("error.adapter_missing", run="gone")]
    assert app.multiselect(key="compare_variants").value == ["adapter:mine"]
    assert app.toggle(key="compare_with_base").value
    assert app.text_input(key="compare_strength-adapter:mine").value == "0.5, 2"
    app.multiselect(key="compare_variants").set_value(["model:demo"]).run()
    assert app.multiselect(key="compare_variants").value == ["model:demo"]


def test_what_a_viewer_asked_stays_without_an_address(open_page: OpenPage, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = Person("Vi", VIEWER)
    monkeypatch.setattr(session, "person", lambda: viewer)
    app = open_page("compare", variants="model:demo")
    s = services.of(viewer)
    asking = compare.ask(s, [find_variant(s, "model:demo")], ["Who?"], "", Sampling())
    asking.answers[0][0].take(Delta(0, "It is me", 7, 1, 0.5, 0.1, "stop"))
    asking._ended.set()
    app.session_state["compare_asking"] = asking
    for _ in range(2):
        app.run()
        assert_healthy(app)
        assert "It is me" in html_of(app)
        assert "comparison" not in app.query_params
    assert ComparisonStore(s.data_dir).ids() == []


def test_who_is_gone_is_told_and_asked_no_more(open_page: OpenPage, data_dir: Path) -> None:
    made = add_adapter(data_dir, "mine")
    app = open_page("compare", variants=f"adapter:{made.id},model:demo")
    assert app.multiselect(key="compare_variants").value == [f"adapter:{made.id}"]
    (data_dir / "adapters" / made.id / "adapter" / "adapters.safetensors").unlink()
    app.run()
    assert_healthy(app)
    assert [each.value for each in app.warning] == [t("variants.gone", names=made.id)]
    assert app.multiselect(key="compare_variants").value == []
    app.run()
    assert not app.warning


def test_two_of_one_name_are_told_apart_by_their_ids(open_page: OpenPage, data_dir: Path) -> None:
    made = [add_adapter(data_dir, "twin", seed=seed) for seed in (1, 2)]
    app = open_page("compare")
    offered = [option for option in app.multiselect(key="compare_variants").options if option.startswith("twin")]
    assert [option.rpartition("(")[2] for option in offered] == [f"{each.id})" for each in reversed(made)]


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
