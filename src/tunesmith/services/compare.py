"""Questions to several variants side by side: who they are, what they say, the history of it. Knows no page and no language."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.inference.protocol import Delta, Sent
from tunesmith.inference.sampling import Sampling
from tunesmith.services.adapters import find_adapter
from tunesmith.services.asking import open_conversation, stream_answers
from tunesmith.services.context import Services
from tunesmith.services.datasets import held_out_prompts
from tunesmith.services.lineage import runs_of
from tunesmith.services.rights import may_change, needs, require_own
from tunesmith.services.variants import VariantInfo, base_of, by_base, find_variant, with_strength
from tunesmith.store.comparisons import Answer, Comparison, ComparisonStore, Heading, Round, Token
from tunesmith.store.ids import new_id

SUGGESTIONS = 6
MOST_VARIANTS = 8  # besides their bases
MOST_QUESTIONS = 500
SHOWN_HISTORY = 20
SECONDS_BETWEEN_SAVES = 10.0


def make_panel(s: Services, chosen: Sequence[tuple[VariantInfo, Sequence[float]]], with_base: bool = True) -> list[VariantInfo]:
    """Return who answers: each variant at each of its strengths, those of one base together behind it; none twice.

    Raises UserError `variants_none`, `too_many_variants`, `strength_wrong`, `strength_not_of_kind`.
    """
    asked = list({v.key: v for variant, strengths in chosen for v in _at_strengths(variant, strengths)}.values())
    if not asked:
        raise UserError("variants_none")
    if len(asked) > MOST_VARIANTS:
        raise UserError("too_many_variants", asked=len(asked), most=MOST_VARIANTS)
    panel: dict[str, VariantInfo] = {}
    for places in by_base(asked):
        group = [asked[place] for place in places]
        base = base_of(s, group[0])
        before = [base] if with_base and base.key not in {each.key for each in group} else []
        panel |= {each.key: each for each in (*before, *group)}
    return list(panel.values())


def _at_strengths(variant: VariantInfo, strengths: Sequence[float]) -> list[VariantInfo]:
    if variant.adapter_path is None:
        return [variant]
    return [with_strength(variant, strength) for strength in strengths]


def suggested_prompts(s: Services, variants: Sequence[VariantInfo]) -> list[str]:
    """Return questions of the variants' data that they were not trained on, of each data set in turn; of a fused one, its parents'."""
    paths = dict.fromkeys(path for variant in variants for path in _data_paths(s, variant))
    by_data = [held_out_prompts(path, SUGGESTIONS) for path in paths]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_data))
    return list(dict.fromkeys(prompt for prompt in turns if prompt))[:SUGGESTIONS]


def _data_paths(s: Services, variant: VariantInfo) -> list[Path]:
    found = []
    for run in [variant.run_id] if variant.run_id else _parent_runs(s, variant):
        try:
            found += [path for path in [s.store.get(run).data_path] if path]  # an imported run may name none
        except UserError:
            continue  # that run is gone
    return [path for path in map(Path, dict.fromkeys(found)) if path.exists()]


def _parent_runs(s: Services, variant: VariantInfo) -> list[str]:
    if variant.kind != "adapter":
        return []
    return runs_of(find_adapter(s, variant.plain_key.partition(":")[2]).lineage)


@dataclass
class Growing:
    """An answer while it is written."""

    tokens: list[Token] = field(default_factory=list)
    last: Delta | None = None
    sent: Sent = Sent("", 0)  # noqa: RUF009 - frozen

    def take(self, delta: Delta) -> None:
        """Add a piece."""
        self.tokens.append(Token(delta.text, delta.token, delta.logprob))
        self.last = delta

    def as_answer(self) -> Answer:
        """Return what there is so far."""
        if self.last is None:
            return Answer(sent=self.sent.text, sent_tokens=self.sent.tokens)
        last = self.last
        return Answer(tuple(self.tokens), last.finish, last.seconds, last.first_token_seconds, self.sent.text, self.sent.tokens)


def _note_sent(answers: Sequence[Growing], place: int, sent: Sent) -> None:
    answers[place].sent = sent


class Asking:
    """Questions on their way: who is asked, what was said so far. Kept in the history when it ends, however it ends."""

    def __init__(
        self, s: Services, panel: Sequence[VariantInfo], questions: Sequence[str], system: str, sampling: Sampling,
        before: Comparison, follows: bool, keep: bool,
    ) -> None:  # fmt: skip
        self.panel, self.questions = list(panel), list(questions)
        self.answers = [[Growing() for _ in panel] for _ in questions]
        self._services, self._system, self._sampling = s, system, sampling
        self._before, self._follows, self.kept = before, follows, keep and not s.read_only
        self._expected = before.rounds
        self._unwanted, self._ended = threading.Event(), threading.Event()

    def run(self) -> Generator[tuple[int, int]]:
        """Yield (question, place) of each piece that comes; closing the iterator ends the answers.

        Raises UserError `host_died`, `disk_full`, and what loading and comparing raise.
        """
        saved = time.monotonic()
        try:
            for places, number in itertools.product(by_base(self.panel), range(len(self.questions))):
                group = [self.panel[place] for place in places]
                conversations = [self._conversation(number, place) for place in places]
                row = self.answers[number]
                note = functools.partial(_note_sent, [row[place] for place in places])
                for delta in stream_answers(self._services, group, conversations, self._sampling, note, self._unwanted.is_set):
                    row[places[delta.variant]].take(delta)
                    yield number, places[delta.variant]
                if self._unwanted.is_set():
                    return
                if self.kept and time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                    self._save()
                    saved = time.monotonic()
        finally:
            try:
                if self.kept and any(each.tokens for row in self.answers for each in row):
                    self._save()
            finally:
                self._ended.set()

    @property
    def waits_behind(self) -> bool:
        """Whether the process that answers is at work for others."""
        return self._services.host.busy

    def stop(self, patience_seconds: float = 1.0) -> None:
        """End the answers from another thread than the one that runs them; wait a little until they are kept."""
        self._unwanted.set()
        self._ended.wait(patience_seconds)

    @property
    def asked_share(self) -> float:
        """How much is done, from 0 to 1, by whole answers."""
        ended = sum(bool(each.last and each.last.finish) for row in self.answers for each in row)
        return ended / (len(self.panel) * len(self.questions))

    @property
    def comparison(self) -> Comparison:
        """What there is so far; questions that nobody has begun to answer are left out."""
        rounds = [
            Round(
                question, self._follows and (number > 0 or bool(self._before.rounds)), self._system, dataclasses.asdict(self._sampling),
                tuple(each.as_answer() for each in row),
            )
            for number, (question, row) in enumerate(zip(self.questions, self.answers, strict=True))
            if any(each.tokens for each in row)
        ]  # fmt: skip
        return dataclasses.replace(self._before, rounds=(*self._before.rounds, *rounds))

    def _save(self) -> None:
        """Keep what there is: beside a comparison that is another's, or that another tab went on with or deleted, not in its place."""
        store = ComparisonStore(self._services.data_dir)
        if self._expected and not (may_change(self._services, self._before.owner) and self._finds_expected(store)):
            self._before = dataclasses.replace(self._before, id=new_id(), created_at=time.time(), owner=self._services.person.name)
        self._expected = ()  # from now on it is this one's own
        store.save(self.comparison)

    def _finds_expected(self, store: ComparisonStore) -> bool:
        try:
            return store.get(self._before.id).rounds == self._expected
        except UserError:
            return False

    def _conversation(self, number: int, place: int) -> list[dict[str, str]]:
        """Return what a variant is told: with a follow-up, its own answers before."""
        messages = open_conversation(self.questions[number], self._system)
        if not self._follows:
            return messages
        said = [(each.question, each.answers[place].text) for each in last_conversation(self._before)]
        said += [(q, row[place].as_answer().text) for q, row in zip(self.questions[:number], self.answers[:number], strict=True)]
        turns = [[{"role": "user", "content": question}, {"role": "assistant", "content": answer}] for question, answer in said]
        return [*messages[:-1], *itertools.chain.from_iterable(turns), messages[-1]]


def last_conversation(comparison: Comparison) -> tuple[Round, ...]:
    """Return the rounds that a follow-up goes on from."""
    begin = max((number for number, each in enumerate(comparison.rounds) if not each.follows), default=0)
    return comparison.rounds[begin:]


def ask(
    s: Services, panel: Sequence[VariantInfo], questions: Sequence[str], system: str, sampling: Sampling, follows: bool = False,
    keep: bool = True,
) -> Asking:  # fmt: skip
    """Return questions ready to be asked; `follows`: each goes on from the one before, with every variant's own answers.

    Raises UserError `prompt_empty`, `too_many_questions`.
    """
    _check(questions)
    records = tuple(_as_record(variant) for variant in panel)
    return Asking(s, panel, questions, system, sampling, Comparison(new_id(), time.time(), records, owner=s.person.name), follows, keep)


def follow_up(s: Services, before: Comparison, question: str, system: str, sampling: Sampling) -> Asking:
    """Return a question ready that goes on where a comparison ended. Raises UserError `prompt_empty`, `variant_unknown`, `adapter_…`."""
    _check([question])
    panel = [find_variant(s, str(record["key"])) for record in before.variants]
    return Asking(s, panel, [question], system, sampling, before, follows=True, keep=True)


def _check(questions: Sequence[str]) -> None:
    if not questions or not all(question.strip() for question in questions):
        raise UserError("prompt_empty")
    if len(questions) > MOST_QUESTIONS:
        raise UserError("too_many_questions", asked=len(questions), most=MOST_QUESTIONS)


def _as_record(variant: VariantInfo) -> dict[str, Any]:
    paths = {"model_path": str(variant.model_path), "adapter_path": str(variant.adapter_path) if variant.adapter_path else None}
    return dataclasses.asdict(variant) | paths


def panel_of(comparison: Comparison | Heading) -> list[VariantInfo]:
    """Return who was asked, as it was then: they may be gone by now. Raises UserError `store_file_unreadable`."""
    try:
        return [VariantInfo(**record | {"model_path": Path(record["model_path"])}) for record in comparison.variants]
    except (TypeError, KeyError) as error:
        raise UserError("store_file_unreadable", file=f"{comparison.id}.json", folder="comparisons", reason=str(error)) from error


def first_difference(answer: Answer, reference: Answer) -> int | None:
    """Return the place of the first token in which an answer leaves another; None while there is none that both have."""
    pairs = zip(answer.tokens, reference.tokens, strict=False)
    return next((place for place, (left, right) in enumerate(pairs) if left.id != right.id), None)


def references(panel: Sequence[VariantInfo]) -> list[int | None]:
    """Return, for each, whose answer its own is held against: the first of the same base's, None for that one itself."""
    firsts = {place: places[0] for places in by_base(panel) for place in places}
    return [firsts[place] if firsts[place] != place else None for place in range(len(panel))]


def history(s: Services, most: int = SHOWN_HISTORY) -> tuple[list[Heading], list[str]]:
    """Return what a list tells of the last comparisons, newest first, and the ids of those in between that cannot be read."""
    store, found, broken = ComparisonStore(s.data_dir), list[Heading](), list[str]()
    for comparison_id in store.ids():
        if len(found) == most:
            break
        try:
            heading = store.heading(comparison_id)
            panel_of(heading)
        except UserError:
            broken.append(comparison_id)
        else:
            found.append(heading)
    return found, broken


def count_history(s: Services) -> int:
    """Return how many comparisons there are."""
    return len(ComparisonStore(s.data_dir).ids())


def open_comparison(s: Services, comparison_id: str) -> Comparison:
    """Return one of the history. Raises UserError `comparison_unknown`, `store_file_unreadable`, `name_not_allowed`."""
    return ComparisonStore(s.data_dir).get(comparison_id)


@needs(TRAINER)
def delete(s: Services, comparison_id: str) -> None:
    """Throw one away. Raises UserError `server_read_only`, `comparison_unknown`, `owned_by_another`."""
    s.require_writable()
    store = ComparisonStore(s.data_dir)
    require_own(s, store.owner(comparison_id))
    store.trash(comparison_id)


@needs(TRAINER)
def restore(s: Services, comparison_id: str) -> None:
    """Bring one back. Raises UserError `server_read_only`, `comparison_unknown`, `owned_by_another`."""
    s.require_writable()
    store = ComparisonStore(s.data_dir)
    require_own(s, store.owner(comparison_id))
    store.restore(comparison_id)


def as_records(comparison: Comparison, titles: Sequence[str]) -> list[dict[str, Any]]:
    """Return one record for each question and variant, in order."""
    return [
        {
            "question": each.question, "follows": each.follows, "system": each.system, "variant": record["key"], "title": title,
            "model": record.get("model"), "answer": answer.text, "finish": answer.finish, "tokens": len(answer.tokens),
            "seconds": answer.seconds, "first_token_seconds": answer.first_token_seconds, "sent": answer.sent,
            "sent_tokens": answer.sent_tokens, "sampling": each.sampling,
        }
        for each in comparison.rounds
        for record, title, answer in zip(comparison.variants, titles, each.answers, strict=True)
    ]  # fmt: skip


def as_jsonl(comparison: Comparison, titles: Sequence[str]) -> bytes:
    """Return the records as lines."""
    return b"".join(orjson.dumps(record) + b"\n" for record in as_records(comparison, titles))


def as_markdown(comparison: Comparison, titles: Sequence[str]) -> str:
    """Return the questions as headings, each with its answers under their titles."""
    parts = []
    for each in comparison.rounds:
        parts.append(f"{'###' if each.follows else '##'} {' '.join(each.question.split())}")
        parts += [f"**{title}**\n\n{answer.text or '…'}" for title, answer in zip(titles, each.answers, strict=True)]
    return "\n\n".join(parts) + "\n"
