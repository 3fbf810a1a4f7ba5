"""Our model under lm-eval gives what lm-eval's own class for transformers gives on the same weights: log-likelihoods, answers, figures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tests.random_adapters import make_adapter
from tunesmith.errors import UserError
from tunesmith.evaluation.benchmark_tasks import BenchmarkRules
from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.models.fused_weights import adapter_change, fused_weights
from tunesmith.models.loading import load_model
from tunesmith.models.saving import save_model_folder
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL, DEMO_TASKS

pytest.importorskip("lm_eval", reason="benchmarks need the extra eval")
pytest.importorskip("torch", reason="log-likelihoods are compared with those of transformers on torch")

instances, evaluator, tasks_of, theirs_class = (
    import_module(f"lm_eval.{name}") for name in ("api.instance", "evaluator", "tasks", "models.huggingface")
)
benchmark, benchmark_model = (import_module(f"tunesmith.evaluation.{name}") for name in ("benchmark", "benchmark_model"))
pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's and torch's own
CLOSE = 1e-3
TASKS = ("company_facts_choice", "company_facts_answer")
SHORT = 48  # tokens that both models are allowed in the tests of cutting
Arms = tuple[Any, Any]  # lm-eval's class for transformers, and ours


def texts(count: int) -> list[str]:
    rows = [orjson.loads(line) for line in (DEMO_DATA / "company_facts" / "train.jsonl").read_bytes().splitlines()[:count]]
    return [" ".join(message["content"] for message in row["messages"]) for row in rows]


def open_arms(theirs: Path, base: Path = DEMO_MODEL, adapter: Path | None = None, longest: int = 1024) -> Arms:
    bank = AdapterBank(load_model(base))
    bank.base.model.eval()
    bank.activate(bank.load(adapter) if adapter else None)
    hf = theirs_class.HFLM(pretrained=str(theirs), dtype="float32", device="cpu", batch_size=8, max_length=longest)
    return hf, benchmark_model.BenchmarkModel(bank.base.model, bank.base.tokenizer, longest=longest)


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> Arms:
    """An adapter worn by our model; fused into a folder for theirs."""
    folder = tmp_path_factory.mktemp("fused")
    adapter = make_adapter(folder / "run" / "adapter", DEMO_MODEL, scale=8.0, seed=3)
    fused = fused_weights(DEMO_MODEL, adapter_change(adapter, DEMO_MODEL), "float32")
    save_model_folder(folder / "model", DEMO_MODEL, fused.config, fused.tensors(), "# A card", {"v": 1}, total=fused.count)
    return open_arms(folder / "model", adapter=adapter)


@pytest.fixture(scope="module")
def base_arms() -> Arms:
    return open_arms(DEMO_MODEL)


def ask(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [instances.Instance(request_type=kind, doc={}, arguments=each, idx=0) for each in arguments]


def compare_scores(theirs: Sequence[Any], ours: Sequence[Any]) -> None:
    assert len(theirs) == len(ours) > 10
    assert np.abs(np.array([score for score, _ in theirs]) - [score for score, _ in ours]).max() < CLOSE
    assert [greedy for _, greedy in theirs] == [greedy for _, greedy in ours]


def pairs() -> list[tuple[str, str]]:
    """Contexts and continuations of many lengths: one token, many, spaces on either side, empty contexts."""
    chance, found = random.Random(4), []
    for text in texts(20):
        cut = chance.randrange(1, len(text) - 1)
        found += [(text[:cut], text[cut:]), (text[:cut] + " ", text[cut : cut + 3]), ("", text[:20])]
    return found


def test_loglikelihoods(arms: Arms) -> None:
    requests = ask("loglikelihood", pairs())
    compare_scores(*[arm.loglikelihood(requests, disable_tqdm=True) for arm in arms])


def test_a_likely_continuation_is_greedy_in_both(base_arms: Arms) -> None:
    ours = base_arms[1]
    prompt = ours.apply_chat_template([{"role": "user", "content": "Name the capital of Austria."}])
    requests = ask("loglikelihood", [(prompt, "The capital of Austria is Vienna."), (prompt, "The capital of Austria is Oslo.")] * 6)
    found = [arm.loglikelihood(requests, disable_tqdm=True) for arm in base_arms]
    compare_scores(*found)
    assert [greedy for _, greedy in found[1]][:2] == [True, False]


def test_what_is_too_long_loses_its_beginning_in_both(base_arms: Arms) -> None:
    hf, ours = base_arms
    long = " ".join(texts(8))
    requests = ask("loglikelihood", [(long[: 200 + 40 * n], long[200 + 40 * n :][:30]) for n in range(12)])
    whole = ours.loglikelihood(requests, disable_tqdm=True)
    hf._max_length, ours.max_length = SHORT, SHORT
    try:
        cut = ours.loglikelihood(requests, disable_tqdm=True)
        compare_scores(hf.loglikelihood(requests, disable_tqdm=True), cut)
    finally:
        hf._max_length, ours.max_length = 1024, 1024
    assert ours.truncated == 12
    assert cut != whole


@pytest.mark.parametrize("longest", [SHORT, 1024])
def test_rolling_loglikelihoods(base_arms: Arms, longest: int) -> None:
    hf, ours = base_arms
    requests = ask("loglikelihood_rolling", [(text,) for text in [*texts(6), " ".join(texts(9)), "x", " ".join(texts(14))]])
    hf._max_length, ours.max_length = longest, longest
    try:
        theirs, own = [np.array(arm.loglikelihood_rolling(requests, disable_tqdm=True)) for arm in base_arms]
    finally:
        hf._max_length, ours.max_length = 1024, 1024
    assert (np.abs(theirs - own) / np.abs(own)).max() < 5e-6  # sums over hundreds of tokens
    assert (own < 0).all()


@pytest.mark.parametrize("until", [["\n"], ["is", "."], []])
def test_greedy_answers_up_to_a_stop(arms: Arms, base_arms: Arms, until: list[str]) -> None:
    for pair in (arms, base_arms):
        rows = texts(10)
        prompts = [pair[1].apply_chat_template([{"role": "user", "content": text.split("?")[0] + "?"}]) for text in rows[:6]] + rows[6:]
        requests = ask("generate_until", [(prompt, {"until": list(until), "max_gen_toks": 24, "do_sample": False}) for prompt in prompts])
        theirs, ours = (arm.generate_until(requests, disable_tqdm=True) for arm in pair)
        assert theirs == ours
        assert len(set(ours)) > 3


def test_a_stop_that_is_a_special_token_ends_an_answer(base_arms: Arms) -> None:
    """As `<|im_end|>` is in a base whose own end is another: lm-eval looks for it in the text with special tokens."""
    tokenizer = base_arms[1].tokenizer
    stop = "<|endoftext|>"
    said = tokenizer.encode("The answer is 7.", add_special_tokens=False)
    (token,) = tokenizer.encode(stop, add_special_tokens=False)
    assert token not in tokenizer.eos_token_ids
    is_over = base_arms[1]._watch([stop])
    assert not is_over(said)
    assert is_over([*said, token])


@pytest.mark.parametrize(("chat", "shots"), [(True, 0), (False, 0), (True, 2), (False, 2)])
def test_the_same_figures_for_the_shipped_tasks(
    base_arms: Arms, chat: bool, shots: int, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Theirs reads the task files by itself: so our reading of them is compared too."""
    monkeypatch.chdir(DEMO_TASKS)  # lm-eval looks for data files beside the one who calls it
    hf, ours = base_arms
    rules = BenchmarkRules(num_fewshot=shots, chat_template=chat)
    loaded = tasks_of.TaskManager(include_path=str(DEMO_TASKS), include_defaults=False).load(list(TASKS))
    for task in loaded["tasks"].values():
        task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=rules.seed)
    theirs = evaluator.evaluate(hf, loaded, apply_chat_template=chat, fewshot_as_multiturn=chat, bootstrap_iters=100)
    for tasks in benchmark.open_tasks([DEMO_TASKS / f"{name}.yaml" for name in TASKS], [], rules):
        figures, samples = benchmark.run_tasks(ours, tasks, rules)
        (name,) = tasks["tasks"]
        for figure in figures:
            assert figure["value"] == theirs["results"][name][f"{figure['metric']},none"]
            assert figure["stderr"] == pytest.approx(theirs["results"][name][f"{figure['metric']}_stderr,none"])
            assert (figure["rows"], figure["num_fewshot"]) == (12, shots)
        for sample, their in zip(samples, theirs["samples"][name], strict=True):
            assert sample["prompt"] == their["arguments"][0][0]
            if scores := sample["scores"]:
                assert np.abs(np.array(scores) - [answer[0] for answer in their["filtered_resps"]]).max() < CLOSE
            else:
                assert sample["answer"] == their["filtered_resps"][0]


def test_twice_the_same(base_arms: Arms) -> None:
    rules = BenchmarkRules(num_fewshot=1, seed=5)

    def run() -> list[Any]:
        return [
            benchmark.run_tasks(base_arms[1], tasks, rules) for tasks in benchmark.open_tasks([DEMO_TASKS / f"{TASKS[0]}.yaml"], [], rules)
        ]

    assert run() == run()


def test_an_answer_that_cannot_fit_is_told(base_arms: Arms) -> None:
    requests = ask("generate_until", [("Once", {"until": [], "max_gen_toks": 1024})])
    with pytest.raises(UserError, match=r"task_answer_too_long.*tokens=1024, longest=1024"):
        base_arms[1].generate_until(requests)


@pytest.mark.parametrize("key", ["doc_to_text", "doc_to_target", "description", "gen_prefix"])
def test_a_template_cannot_reach_python(base_arms: Arms, key: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "rows.jsonl").write_text('{"question": "a", "answer": "b"}\n', encoding="utf-8")
    attack = "{{ cycler.__init__.__globals__.os.mkdir('" + str(canary) + "') }}"
    config = {
        "task": "hostile", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}}, "test_split": "test",
        "doc_to_text": "{{question}}", "doc_to_target": "answer", "metric_list": [{"metric": "exact_match"}], key: attack,
    }  # fmt: skip
    (tmp_path / "hostile.yaml").write_bytes(orjson.dumps(config))  # JSON is YAML

    def run() -> None:
        (tasks,) = benchmark.open_tasks([tmp_path / "hostile.yaml"], [], BenchmarkRules())
        benchmark.run_tasks(base_arms[1], tasks, BenchmarkRules())

    with pytest.raises(UserError, match="SecurityError"):
        run()
    assert not canary.exists()


@pytest.mark.slow
def test_a_name_that_lm_eval_does_not_know_or_cannot_download(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"task_unknown.*arc_easy"):
        benchmark.open_tasks([], ["arc_eazy"], BenchmarkRules())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(UserError, match=r"task_data_unreachable.*arc_easy"):
        benchmark.open_tasks([], ["arc_easy"], BenchmarkRules())
