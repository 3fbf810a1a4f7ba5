"""Every language has every word; every code that the source raises has its sentence, and the facts that it needs."""

from __future__ import annotations

import ast
import dataclasses
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunesmith.data.synthesis import SynthesisRules
from tunesmith.evaluation.benchmark_tasks import BenchmarkRules
from tunesmith.evaluation.config import EvaluationConfig
from tunesmith.evaluation.gate import GateRule
from tunesmith.evaluation.intervals import IntervalRules
from tunesmith.evaluation.judging import JudgeRules
from tunesmith.evaluation.metrics import METRICS
from tunesmith.export.config import ArrivalRules, GgufRules, OllamaRules, QuantizeRules
from tunesmith.fusion.config import FusionRules
from tunesmith.i18n.catalog import LANGUAGES, field_words, load_catalogue, t
from tunesmith.inference.sampling import Sampling
from tunesmith.settings.schema import AppSettings
from tunesmith.training.config import LoraParameters, TrainConfig
from tunesmith.training.policy_config import PolicyParameters
from tunesmith.training.preference_config import PreferenceParameters
from tunesmith.training.rewards.registry import REWARDS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / "src/tunesmith").rglob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "app.py"])
OTHERS = [lang for lang in LANGUAGES if lang != "en"]
FORMS = (
    TrainConfig, LoraParameters, PolicyParameters, PreferenceParameters, AppSettings, Sampling, SynthesisRules, *REWARDS.values(),
    FusionRules, QuantizeRules, ArrivalRules, GgufRules, OllamaRules, *METRICS.values(), IntervalRules, GateRule, JudgeRules,
    EvaluationConfig, BenchmarkRules,
)  # fmt: skip
PROPER_NAMES = {
    "ChatML", "Alpaca", "Llama 2", "Llama 3", "Qwen", "Gemma", "Mistral", "Phi", "JSON", "CSV", "TSV", "Parquet", "Excel", "Markdown",
    "GGUF", "LM Studio", "Ollama", "Modelfile", "SLERP", "NuSLERP", "TIES", "DELLA", "Breadcrumbs",
}  # fmt: skip
JAPANESE = re.compile(r"[぀-ヿ一-鿿]")


@dataclasses.dataclass(frozen=True)
class Use:
    """A call in the source whose argument names a key; `facts` are its keyword arguments, None when some are passed on unseen."""

    place: str
    key: str
    facts: frozenset[str] | None


def placeholders(words: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(words) if name}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                yield f"{path.relative_to(ROOT)}:{node.lineno}", name, node


def key_of(node: ast.expr) -> str | None:
    """Return a literal key, or an f-string as a pattern with * in the places of its values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and isinstance(node.left, ast.Constant):
        return f"{node.left.value}*"
    return None


def literal_keys(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return literal_keys(node.body) + literal_keys(node.orelse)
    key = key_of(node)
    return [] if key is None else [key]


def keyword_names(node: ast.Call) -> frozenset[str] | None:
    names = [keyword.arg for keyword in node.keywords]
    return None if None in names else frozenset(n for n in names if n)


def find_uses() -> list[Use]:
    found = []
    for place, name, node in calls():
        if name == "t" and node.args:
            found += [Use(place, key, keyword_names(node)) for key in literal_keys(node.args[0])]
        elif name == "UserError" and node.args:
            found += [Use(place, f"error.{key}", keyword_names(node)) for key in literal_keys(node.args[0])]
        elif name == "Problem" and len(node.args) >= 3:
            facts = node.args[3] if len(node.args) > 3 else None
            names = (
                frozenset(str(k.value) for k in facts.keys if isinstance(k, ast.Constant)) if isinstance(facts, ast.Dict) else frozenset()
            )
            for key in literal_keys(node.args[2]):
                found += [Use(place, f"problem.{key}", names), Use(place, f"problem_name.{key}", frozenset())]
    return found


USES = find_uses()
PLAIN = [use for use in USES if "*" not in use.key]


def test_the_scan_finds_the_calls() -> None:
    kinds = {use.key.split(".")[0] for use in USES}
    assert {"error", "problem", "home", "run", "training", "status"} <= kinds
    assert len(PLAIN) > 150


@pytest.mark.parametrize("lang", OTHERS)
def test_every_language_has_the_same_keys(lang: str) -> None:
    english, other = load_catalogue("en"), load_catalogue(lang)
    own = {key for key in other if not key.startswith("field.")}
    assert own == set(english)


@pytest.mark.parametrize("lang", OTHERS)
def test_every_language_fills_the_same_placeholders(lang: str) -> None:
    english, other = load_catalogue("en"), load_catalogue(lang)
    different = {key for key in english if placeholders(english[key]) != placeholders(other.get(key, ""))}
    assert not different


def test_no_words_are_empty() -> None:
    assert not [(lang, key) for lang in LANGUAGES for key, words in load_catalogue(lang).items() if not words.strip()]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_bold_words_end_where_markdown_sees_it(lang: str) -> None:
    """A closing `**` between a mark of punctuation and a letter closes nothing: readers would see the asterisks (CommonMark 6.2)."""
    broken = re.compile(r"\*\*(?=\S)(?:(?!\*\*).)*[^\w\s]\*\*(?=\w)")
    assert [key for key, words in load_catalogue(lang).items() if broken.search(words)] == []
    assert broken.search("**終わり。**次")
    assert not broken.search("**終わり。** 次 **です**")


def test_every_key_in_the_source_has_words() -> None:
    known = load_catalogue("en")
    assert not [(use.place, use.key) for use in PLAIN if use.key not in known]


def test_every_made_key_has_words() -> None:
    known = load_catalogue("en")
    patterns = {(use.place, use.key) for use in USES if "*" in use.key and use.key.strip("*.")}
    missing = [(place, key) for place, key in patterns if not any(re.fullmatch(re.escape(key).replace(r"\*", ".+"), k) for k in known)]
    assert not missing


def test_every_sentence_gets_the_facts_that_it_names() -> None:
    known = load_catalogue("en")
    missing = {
        (use.place, use.key): placeholders(known[use.key]) - use.facts
        for use in PLAIN
        if use.key in known and use.facts is not None and not placeholders(known[use.key]) <= use.facts
    }
    assert not missing


def test_every_word_is_used() -> None:
    """A key that nothing asks for is a word that nobody maintains."""
    used = {use.key for use in PLAIN}
    patterns = [re.compile(re.escape(use.key).replace(r"\*", ".+")) for use in USES if "*" in use.key and use.key.strip("*.")]
    source = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    dead = [
        key
        for key in load_catalogue("en")
        if key not in used and not any(p.fullmatch(key) for p in patterns) and f'"{key.split(".", 1)[1]}"' not in source
    ]
    assert not dead


@pytest.mark.parametrize("lang", OTHERS)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_setting_is_described(form: type, lang: str) -> None:
    for field in dataclasses.fields(form):
        if "label" not in field.metadata:
            continue
        for language in ("en", lang):
            label, help_text = field_words(form.__name__, field, language)
            assert label, field.name
            assert help_text, field.name
        if unit := field.metadata["unit"]:
            assert t(f"unit.{unit}", lang)
        if group := field.metadata["group"]:
            assert t(f"{'settings' if form is AppSettings else 'training'}.group_{group}", lang)


def test_no_words_describe_a_setting_that_is_gone() -> None:
    known = {
        f"field.{form.__name__}.{field.name}.{part}" for form in FORMS for field in dataclasses.fields(form) for part in ("label", "help")
    }
    assert not [key for key in load_catalogue("ja") if key.startswith("field.") and key not in known]


def test_japanese_is_japanese() -> None:
    """Words that are the same in both languages are names and units, nothing else."""
    english, japanese = load_catalogue("en"), load_catalogue("ja")
    same = {key for key, words in japanese.items() if not JAPANESE.search(words) and key in english}
    allowed = {"app.name", "common.none", "settings.lang_en", "settings.device_cpu", "settings.blas_accelerate", "settings.blas_openblas"}
    proper = {key for key in same if english[key] in PROPER_NAMES}
    assert same <= allowed | proper | {"settings.device_metal", "settings.device_cuda", "unit.GB"}
