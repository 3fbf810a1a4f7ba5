"""Answers of any variants, streamed: those of one base together in one batch, base after base. Knows no page and no history."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from tunesmith.inference.protocol import Asked, Delta, Sent
from tunesmith.inference.sampling import Sampling
from tunesmith.services.context import Services
from tunesmith.services.variants import VariantInfo, by_base

Conversation = Sequence[Mapping[str, str]]


def open_conversation(question: str, system: str = "") -> list[dict[str, str]]:
    """Return the messages of a first question."""
    before = [{"role": "system", "content": system}] if system.strip() else []
    return [*before, {"role": "user", "content": question}]


def stream_answers(
    s: Services, variants: Sequence[VariantInfo], conversations: Sequence[Conversation], sampling: Sampling,
    tell_sent: Callable[[int, Sent], None] = lambda *_: None, unwanted: Callable[[], bool] = lambda: False,
) -> Iterator[Delta]:  # fmt: skip
    """Yield the pieces of each variant's answer to its own conversation; closing the iterator ends them, and so does `unwanted`.

    Memory holds one base at a time: variants of another base wait for their turn. `tell_sent` hears, before a variant's first piece,
    its place and the exact text that it was given. Raises UserError `host_died`, and what loading and comparing raise.
    """
    for places in by_base(variants):
        asked = [Asked(conversations[place], variants[place].adapter_path, variants[place].strength) for place in places]

        def tell(sent: Sequence[Sent], places: Sequence[int] = places) -> None:
            for place, each in zip(places, sent, strict=True):
                tell_sent(place, each)

        for delta in s.host.stream(variants[places[0]].model_path, asked, sampling, tell, unwanted):
            yield dataclasses.replace(delta, variant=places[delta.variant])
        if unwanted():
            return
