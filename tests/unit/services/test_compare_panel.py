"""Who answers, whose answers are held against each other, what a follow-up goes on from, what is carried away, what a file asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.adapters import add_adapter
from tests.unit.store.test_comparison_store import make_comparison
from tunesmith.errors import UserError
from tunesmith.inference.sampling import Sampling
from tunesmith.services import compare, context, prompt_sets
from tunesmith.services.context import Services
from tunesmith.services.variants import VariantInfo, find_variant
from tunesmith.store.comparisons import Answer, ComparisonStore, Round, Token


@pytest.fixture
def services(data_dir: Path) -> Iterator[Services]:
    opened = context.build_services()
    yield opened
    opened.close()


def variant(key: str, base: str = "/one", adapter: str | None = "/a") -> VariantInfo:
    return VariantInfo(key, key, "m", Path(base), 0.0, Path(adapter) if adapter else None, adapter_kind="lora")


def test_each_strength_answers_once_behind_its_base(services: Services, data_dir: Path) -> None:
    one, two = (find_variant(services, add_adapter(data_dir, name, seed=n).id) for n, name in enumerate(("one", "two")))
    panel = compare.make_panel(services, [(two, [1.0]), (one, [0.5, 1.0, 0.5]), (two, [1.0])])
    assert [each.key for each in panel] == ["model:demo", "adapter:two", "adapter:one@0.5", "adapter:one"]
    base = find_variant(services, "model:demo")
    without = compare.make_panel(services, [(one, [2.0]), (base, [1.0])], with_base=False)
    assert [each.key for each in without] == ["adapter:one@2", "model:demo"]
    assert [each.key for each in compare.make_panel(services, [(one, [1.0]), (base, [1.0])])] == ["adapter:one", "model:demo"]
    for chosen, code in (
        ([], "variants_none"),
        ([(one, [n / 9 for n in range(9)])], "too_many_variants"),
        ([(one, [5.0])], "strength_wrong"),
    ):
        with pytest.raises(UserError, match=code):
            compare.make_panel(services, chosen)


def test_answers_are_held_against_the_first_of_their_base() -> None:
    panel = [variant("a"), variant("b", base="/two"), variant("c"), variant("d", base="/two"), variant("e")]
    assert compare.references(panel) == [None, None, 0, 1, 0]


def told(*ids: int) -> Answer:
    return Answer(tuple(Token(str(each), each, 0.0) for each in ids))


@pytest.mark.parametrize(
    ("own", "other", "fork"),
    [((1, 2, 3), (1, 2, 3), None), ((1, 2, 9), (1, 2, 3), 2), ((9,), (1, 2), 0), ((1, 2), (1, 2, 3), None), ((), (1,), None)],
)
def test_the_fork_is_the_first_other_token(own: tuple[int, ...], other: tuple[int, ...], fork: int | None) -> None:
    assert compare.first_difference(told(*own), told(*other)) == fork


def test_a_follow_up_goes_on_from_the_last_beginning() -> None:
    first, second, third = (Round(q, follows, "", {}, (told(1),)) for q, follows in (("1", False), ("2", False), ("3", True)))
    comparison = make_comparison()
    for rounds, expected in (((first, second, third), (second, third)), ((first,), (first,)), ((), ())):
        assert compare.last_conversation(type(comparison)("i", 0.0, (), rounds)) == expected


def test_what_is_carried_away_names_everything() -> None:
    comparison, titles = make_comparison(rounds=2), ["Base", "Mine × 0.5"]
    lines = [orjson.loads(line) for line in compare.as_jsonl(comparison, titles).splitlines()]
    assert [(line["question"], line["title"], line["answer"], line["finish"]) for line in lines] == [
        ("猫は？", "Base", "東京", "stop"), ("猫は？", "Mine × 0.5", "", ""),
    ] * 2  # fmt: skip
    assert (lines[0]["sent"], lines[0]["sent_tokens"], lines[0]["tokens"]) == ("<|im_start|>猫は？", 4, 2)
    assert compare.as_markdown(comparison, titles) == "## 猫は？\n\n**Base**\n\n東京\n\n**Mine × 0.5**\n\n…\n\n" + (
        "## 猫は？\n\n**Base**\n\n東京\n\n**Mine × 0.5**\n\n…\n"
    )


def test_questions_are_checked_before_anybody_is_asked(services: Services) -> None:
    panel = [find_variant(services, "model:demo")]
    for questions, code in (([], "prompt_empty"), (["a", " \n"], "prompt_empty"), (["a"] * 501, "too_many_questions")):
        with pytest.raises(UserError, match=code):
            compare.ask(services, panel, questions, "", Sampling())
    gone = type(make_comparison())("i", 0.0, ({"key": "adapter:gone", "model_path": "/"},))
    with pytest.raises(UserError, match="adapter_missing"):
        compare.follow_up(services, gone, "a", "", Sampling())


def test_a_name_that_only_one_has_finds_it(services: Services, data_dir: Path) -> None:
    first = add_adapter(data_dir, "Sums 2")
    assert find_variant(services, "Sums 2@0.5").key == f"adapter:{first.id}@0.5"
    add_adapter(data_dir, "Sums 2", seed=1)
    with pytest.raises(UserError, match="variant_name_shared"):
        find_variant(services, "Sums 2")


def test_a_comparison_that_cannot_be_read_is_named_and_hides_no_other(services: Services, data_dir: Path) -> None:
    store, ids = ComparisonStore(data_dir), [f"2026010{day}-000000-abcdef" for day in (1, 2, 3, 4)]
    known = [{**each, "name": "x", "model": "x", "created_at": 1.0} for each in make_comparison().variants]
    for number, each in enumerate(ids):
        store.save(dataclasses.replace(make_comparison(each, rounds=number), variants=tuple(known)))
    path = store.root / f"{ids[2]}.json"
    path.write_bytes(path.read_bytes().replace(b'"name"', b'"nome"'))
    found, broken = compare.history(services)
    assert ([(each.id, each.questions) for each in found], broken) == ([(ids[3], 3), (ids[1], 1), (ids[0], 0)], [ids[2]])
    assert [each.id for each in compare.history(services, most=1)[0]] == [ids[3]]
    store.save(dataclasses.replace(store.get(ids[3]), rounds=store.get(ids[3]).rounds[:1]))
    assert [each.questions for each in compare.history(services, most=1)[0]] == [1]


def test_an_answer_for_each_variant_or_none_is_shown(data_dir: Path) -> None:
    store = ComparisonStore(data_dir)
    store.save(dataclasses.replace(make_comparison(), variants=make_comparison().variants[:1]))
    with pytest.raises(UserError, match="store_file_unreadable"):
        store.get(make_comparison().id)


def test_a_new_set_takes_no_other_ones_place(services: Services) -> None:
    prompt_sets.save_new(services, "mine", ["a"])
    with pytest.raises(UserError, match="prompt_set_exists"):
        prompt_sets.save_new(services, "  mine ", ["b"])
    assert prompt_sets.find_set(services, "mine").prompts == ("a",)
    brought = prompt_sets.import_held_out(services, "company_facts", 2).prompts
    prompt_sets.save(services, "company_facts", ["my own", brought[0]])
    assert prompt_sets.import_held_out(services, "company_facts", 2).prompts == ("my own", *brought)


def test_prompt_sets_are_kept_added_to_and_brought(services: Services) -> None:
    made = prompt_sets.save(services, "mine", [" a ", "", "b", "a"])
    assert made.prompts == ("a", "b")
    assert prompt_sets.add_prompts(services, "mine", ["b", "c"]).prompts == ("a", "b", "c")
    brought = prompt_sets.import_held_out(services, "company_facts", 3)
    assert (brought.name, len(brought.prompts)) == ("company_facts", 3)
    assert all("Norvik" in prompt for prompt in brought.prompts)
    assert prompt_sets.find_set(services, "mine").id == made.id
    prompt_sets.delete(services, made.id)
    with pytest.raises(UserError, match="prompt_set_unknown"):
        prompt_sets.find_set(services, "mine")
    prompt_sets.restore(services, made.id)
    assert prompt_sets.find_set(services, "mine").prompts == ("a", "b", "c")
    for prompts, code in (([" "], "prompts_none"), ([str(n) for n in range(501)], "too_many_questions")):
        with pytest.raises(UserError, match=code):
            prompt_sets.save(services, "x", prompts)


@pytest.mark.parametrize(
    ("name", "content", "prompts"),
    [
        ("a.txt", "\ufeffone\n\n  two  \r\n", ["one", "two"]),
        ("a.jsonl", '"one"\n{"prompt": "two\\nlines"}\n\n{"id": 1, "question": "三"}\n', ["one", "two\nlines", "三"]),
    ],
)
def test_a_file_of_prompts(tmp_path: Path, name: str, content: str, prompts: list[str]) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert prompt_sets.read_prompt_file(path) == prompts


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b'"one"\n{"prompt": 3}', "prompts_line", 2), (b"{", "prompts_line", 1), (b'{"answer": "x"}', "prompts_line", 1),
        (b"\n\n", "prompts_none", None), (b"ok\n\xff\xfe", "data_not_utf8", 2),
    ],
)  # fmt: skip
def test_a_file_that_is_none(tmp_path: Path, content: bytes, code: str, line: int | None) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        prompt_sets.read_prompt_file(path)
    assert (caught.value.code, caught.value.facts.get("line")) == (code, line)
    with pytest.raises(UserError, match="file_missing"):
        prompt_sets.read_prompt_file(tmp_path / "none.txt")
