"""A base and its variants in one batch: every answer is the one that its variant gives alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.sample_utils import make_logits_processors, make_sampler

from tests.random_adapters import make_adapter
from tunesmith.data.templates import render
from tunesmith.errors import UserError
from tunesmith.inference.adapter_bank import Adapter, AdapterBank
from tunesmith.inference.adapter_rows import AdapterRows, RowLinear
from tunesmith.inference.comparison import Variant, compare
from tunesmith.inference.generation import generate_side_by_side
from tunesmith.inference.protocol import Delta
from tunesmith.inference.sampling import Sampling
from tunesmith.inference.token_sampler import PENALTY_TOKENS, TokenSampler, context_before
from tunesmith.models.loading import LoadedModel
from tunesmith.system.paths import DEMO_MODEL

QUESTION = [{"role": "user", "content": "What is the capital of Japan?"}]
PLAIN = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
LONG = "{% for m in messages %}Somebody asks, and wants to be answered well: {{ m['content'] }}\nThe answer is:{% endfor %}"
GREEDY = Sampling(max_tokens=40)
Kept = list[tuple[str, float | None, str]]


@pytest.fixture
def bank(base: LoadedModel) -> AdapterBank:
    base.model.eval()
    return AdapterBank(base)


@pytest.fixture
def adapters(bank: AdapterBank, tmp_path: Path) -> list[Adapter]:
    """Four of different ranks, layers and modules, none weak: each answers in its own way."""
    wanted = [
        {"rank": 4, "scale": 10.0},
        {"rank": 16, "scale": 8.0, "last_names": ("q_proj", "v_proj")},
        {"rank": 1, "scale": 25.0, "layers": (1, 3)},
        {"rank": 8, "scale": 25.0, "last_names": ("down_proj",), "layers": (0,)},
    ]
    folders = [make_adapter(tmp_path / f"a{seed}", DEMO_MODEL, seed=seed, **options) for seed, options in enumerate(wanted)]
    return [bank.load(folder) for folder in folders]


def by_variant(deltas: Iterable[Delta]) -> dict[int, Kept]:
    told: dict[int, Kept] = {}
    for delta in deltas:
        told.setdefault(delta.variant, []).append((delta.text, delta.logprob, delta.finish))
    return told


def alone(bank: AdapterBank, variant: Variant, sampling: Sampling) -> Kept:
    """The way without any batch: the adapter worn by the model, mlx-lm's own generator."""
    adapter, scales = variant.adapter, {}
    for place, part in (adapter.parts if adapter else {}).items():
        scales[place], part.scale = part.scale, part.scale * variant.strength
    one = replace(sampling, seed=sampling.seed if variant.seed is None else variant.seed)
    answer = generate_side_by_side(
        bank.base.model, bank.base.tokenizer, variant.messages or QUESTION, one, [lambda: bank.activate(adapter)], [variant.template]
    )  # fmt: skip
    (told,) = by_variant(answer).values()
    for place, scale in scales.items():
        adapter.parts[place].scale = scale  # type: ignore[union-attr]
    bank.activate(None)
    return told


def check(bank: AdapterBank, variants: Sequence[Variant], sampling: Sampling = GREEDY) -> dict[int, Kept]:
    together = by_variant(compare(bank, variants, QUESTION, sampling))
    for number, variant in enumerate(variants):
        expected = alone(bank, variant, sampling)
        assert [(text, finish) for text, _, finish in together[number]] == [(text, finish) for text, _, finish in expected], number
        np.testing.assert_allclose([p for _, p, _ in together[number]], [p for _, p, _ in expected], atol=2e-4)
    return together


def text_of(told: Kept) -> str:
    return "".join(text for text, _, _ in told).strip()


def test_base_and_four_adapters_answer_as_each_does_alone(bank: AdapterBank, adapters: list[Adapter]) -> None:
    told = check(bank, [Variant(), *map(Variant, adapters)])
    assert text_of(told[0]) == "The capital of Japan is Tokyo."
    assert len({text_of(answer) for answer in told.values()}) == 5
    assert len({len(answer) for answer in told.values()}) > 1  # some left the batch while others wrote on


def test_prompts_of_different_lengths(bank: AdapterBank, adapters: list[Adapter]) -> None:
    lengths = {len(render(bank.base.tokenizer, QUESTION, answer_next=True, template=t)) for t in (None, PLAIN, LONG)}
    assert len(lengths) == 3
    check(bank, [Variant(adapters[1], template=LONG), Variant(), Variant(adapters[0], template=PLAIN), Variant(adapters[2]),
                 Variant(template=PLAIN), Variant(adapters[3], template=LONG)])  # fmt: skip


def test_one_adapter_at_several_strengths(bank: AdapterBank, adapters: list[Adapter]) -> None:
    variants = [Variant(adapters[0], strength) for strength in (0.0, 0.7, 1.0, 2.0)]
    told = check(bank, [Variant(), *variants])
    assert told[1] == told[0]  # at strength 0 it adds exactly nothing
    assert len({text_of(answer) for answer in told.values()}) == 4


def test_row_layer_adds_each_rows_product() -> None:
    """x = (1, 2); row 0 has nothing; row 1: A = (1, 1)ᵀ, B = (10), scale 3: (1+2)·10·3 = 90; y = W x = 1·1 + 1·2 = 3."""
    own = nn.Linear(2, 1, bias=False)
    own.weight = mx.array([[1.0, 1.0]])
    a = mx.array([[[0.0], [0.0]], [[1.0], [1.0]]])
    b = mx.array([[[0.0]], [[10.0 * 3]]])
    x = mx.array([[[1.0, 2.0]], [[1.0, 2.0]]])
    assert RowLinear(own, (a, b))(x).tolist() == [[[3.0]], [[93.0]]]
    assert RowLinear(own, None)(x).tolist() == [[[3.0]], [[3.0]]]


def test_rows_that_leave_take_their_factors_along(bank: AdapterBank, adapters: list[Adapter]) -> None:
    rows = AdapterRows(bank, [(None, 1.0), (adapters[3], 1.0), (adapters[1], 1.0)])
    place = "model.layers.0.mlp.down_proj"
    layer = bank.base.model.model.layers[0].mlp.down_proj
    assert [part.shape for part in layer.factors] == [(3, 512, 8), (3, 8, 256)]
    assert mx.allclose(layer.factors[1][1], 25.0 * adapters[3].parts[place].lora_b, rtol=1e-6).item()
    rows.keep([0, 2])
    assert layer.factors is None  # nobody who is left has an adapter here
    assert bank.base.model.model.layers[2].self_attn.q_proj.factors[0].shape == (2, 256, 16)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.6, max_tokens=24, seed=5),
        Sampling(temperature=2.0, top_p=0.98, top_k=200, min_p=0.0001, max_tokens=24, seed=6),
        Sampling(repetition_penalty=2.0, presence_penalty=2.0, max_tokens=24),
    ],
    ids=["temperature", "cut tail", "penalties"],
)
def test_drawn_answers_do_not_depend_on_the_others(bank: AdapterBank, adapters: list[Adapter], sampling: Sampling) -> None:
    variants = [Variant(), Variant(adapters[0]), Variant(adapters[2], template=LONG)]
    if sampling.temperature:
        variants += [Variant(adapters[0], seed=sampling.seed), Variant(adapters[0], seed=77)]
    told = check(bank, variants, sampling)
    if sampling.temperature:
        assert text_of(told[3]) == text_of(told[1])
        assert text_of(told[4]) != text_of(told[1])
    else:
        assert text_of(told[0]) != "The capital of Japan is Tokyo."


def test_penalties_are_mlx_lms() -> None:
    chance = np.random.default_rng(0)
    tokens = mx.array(chance.integers(0, 50, 33))
    logits = mx.array(chance.normal(0, 3, (1, 50)).astype(np.float32))
    expected = mx.array(logits)
    for processor in make_logits_processors(repetition_penalty=1.3, presence_penalty=0.7):
        expected = processor(tokens, expected)
    (ours,) = TokenSampler(Sampling(repetition_penalty=1.3, presence_penalty=0.7)).processors()
    assert mx.allclose(ours(tokens, logits), expected, atol=1e-6).item()
    assert not mx.allclose(logits, expected, atol=0.1).item()


def test_what_penalties_see_of_prompts() -> None:
    assert context_before([[7, 8, 9], [1]]).tolist() == [[7] * (PENALTY_TOKENS - 1) + [8], [1] * PENALTY_TOKENS]
    assert context_before([list(range(50))]).tolist() == [list(range(29, 49))]


def test_cut_tails_are_mlx_lms() -> None:
    """What mlx-lm's sampler can draw in many draws of flat log-probabilities is what ours can."""
    logits = mx.array(np.random.default_rng(1).normal(0, 2, 40).astype(np.float32))
    logprobs = (logits - mx.logsumexp(logits))[None]
    for options in ({"top_p": 0.7}, {"min_p": 0.1}, {"top_k": 5}, {"top_p": 0.9, "min_p": 0.03, "top_k": 9}):
        theirs = make_sampler(temp=2.0, **options)
        mx.random.seed(0)
        can_draw = {int(theirs(logprobs).item()) for _ in range(600)}
        ours = TokenSampler(Sampling(temperature=2.0, **options))
        assert {int(ours.choose(logprobs, [3], step).item()) for step in range(600)} == can_draw


def test_draws_follow_the_probabilities() -> None:
    """Of 4,000 draws of a token with probability 0.7, 2,800 ± 29 are expected; 5 standard deviations are allowed."""
    logprobs = mx.log(mx.array([[0.7, 0.2, 0.1]]))
    sampler = TokenSampler(Sampling(temperature=1.0))
    drawn = mx.concatenate([sampler.choose(logprobs, [9], step) for step in range(4000)])
    assert abs(int((drawn == 0).sum().item()) - 2800) < 145


def test_an_adapter_of_no_numbers_ends_and_touches_no_other(bank: AdapterBank, adapters: list[Adapter]) -> None:
    sick = adapters[1]
    for part in sick.parts.values():
        part.lora_b = mx.full(part.lora_b.shape, mx.nan)
    told = by_variant(compare(bank, [Variant(), Variant(sick), Variant(adapters[0])], QUESTION, GREEDY))
    assert told[1] == [("", None, "not_finite")]
    assert alone(bank, Variant(sick), GREEDY) == [("", None, "not_finite")]
    for number, variant in ((0, Variant()), (2, Variant(adapters[0]))):
        assert text_of(told[number]) == text_of(alone(bank, variant, GREEDY))
        assert None not in [logprob for _, logprob, _ in told[number]]


def test_a_closed_comparison_gives_the_base_back(bank: AdapterBank, adapters: list[Adapter]) -> None:
    tokens = mx.array([[5, 9, 300, 41]])
    before = bank.base.model(tokens)
    deltas = compare(bank, [Variant(), *map(Variant, adapters)], QUESTION, Sampling(max_tokens=8000, temperature=2.0))
    taken = list(itertools.islice(deltas, 12))
    deltas.close()  # type: ignore[attr-defined]
    assert len({delta.variant for delta in taken}) == 5
    assert mx.array_equal(bank.base.model(tokens), before).item()


def test_every_token_comes_with_its_times_and_probability(bank: AdapterBank, adapters: list[Adapter]) -> None:
    deltas = list(compare(bank, [Variant(), Variant(adapters[0])], QUESTION, Sampling(max_tokens=3)))
    assert [delta.tokens for delta in deltas] == [1, 1, 2, 2, 3, 3]
    assert [delta.finish for delta in deltas] == ["", "", "", "", "length", "length"]
    assert len({delta.first_token_seconds for delta in deltas if delta.variant == 0}) == 1
    assert all(0 < delta.first_token_seconds <= delta.seconds for delta in deltas if delta.first_token_seconds)
    prompt = mx.array(render(bank.base.tokenizer, QUESTION, answer_next=True))
    logits = bank.base.model(prompt[None])[0, -1]
    expected = (logits - mx.logsumexp(logits)).max().item()
    assert deltas[0].logprob == pytest.approx(expected, abs=1e-5)


def test_dora_takes_turns(bank: AdapterBank, adapters: list[Adapter], tmp_path: Path) -> None:
    dora = bank.load(make_adapter(tmp_path / "dora", DEMO_MODEL, kind="dora", seed=8))
    check(bank, [Variant(), Variant(adapters[0], 0.5), Variant(dora)])
    with pytest.raises(UserError) as caught:
        list(compare(bank, [Variant(dora, 0.5)], QUESTION, GREEDY))
    assert (caught.value.code, caught.value.facts) == ("adapter_strength_unsupported", {"number": 1})


def test_each_goes_on_with_its_own_answers(bank: AdapterBank, adapters: list[Adapter], tmp_path: Path) -> None:
    """A follow-up, at a strength, with a template of its own, in a batch and in turns: what the same variant answers alone."""

    def then(answer: str) -> list[dict[str, str]]:
        return [*QUESTION, {"role": "assistant", "content": answer}, {"role": "user", "content": "And of Italy?"}]

    variants = [
        Variant(messages=then("The capital of Japan is Tokyo.")), Variant(adapters[1], 0.7, messages=then("Rice")),
        Variant(adapters[2], template=LONG, messages=QUESTION), Variant(adapters[1], 0.7, messages=then("The sun is a star.")),
    ]  # fmt: skip
    dora = Variant(bank.load(make_adapter(tmp_path / "dora", DEMO_MODEL, kind="dora", seed=8)), messages=then("東京"))
    for asked in (variants, [*variants, dora]):
        told = check(bank, asked)
        assert text_of(told[0]) == "The capital of Italy is Rome."
        assert len({text_of(answer) for answer in told.values()}) == len(asked)


def test_too_many_are_refused(bank: AdapterBank) -> None:
    with pytest.raises(UserError) as caught:
        list(compare(bank, [Variant()] * 10, QUESTION, GREEDY))
    assert caught.value.code == "too_many_variants"
