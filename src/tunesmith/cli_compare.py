"""`tunesmith compare`: the same questions to several variants, their answers side by side. Calls the same services as the Compare page."""

from __future__ import annotations

import textwrap
from typing import Annotated

import typer

from tunesmith.cli_output import Json, open_services, report, with_settings
from tunesmith.inference.sampling import Sampling
from tunesmith.services import compare, prompt_sets
from tunesmith.services.context import Services
from tunesmith.services.variants import find_variant
from tunesmith.store.comparisons import Comparison
from tunesmith.system.paths import typed_path

WIDTH = 100


@with_settings(Sampling, "sampling")
def compare_variants(
    variant: Annotated[list[str], typer.Option(help="adapter:ID, adapter:ID@0.5, checkpoint:RUN/STEP or model:ID; may be repeated.")],
    prompt: Annotated[list[str] | None, typer.Option(help="A question; may be repeated.")] = None,
    prompts: Annotated[str, typer.Option(help="A file of questions (.jsonl, or one a line), or the name of a prompt set.")] = "",
    system: Annotated[str, typer.Option(help="System prompt.")] = "",
    base: Annotated[bool, typer.Option(help="Ask the base of each too.")] = True,
    follow: Annotated[bool, typer.Option("--follow", help="Each question goes on from the one before.")] = False,
    json: Json = False,
    *,
    sampling: Sampling,
) -> None:
    """Ask several variants the same, and print their answers side by side."""
    with open_services() as services:
        found = [find_variant(services, key) for key in variant]
        panel = compare.make_panel(services, [(each, [each.strength]) for each in found], base)
        questions = [*(prompt or []), *(_read_prompts(services, prompts) if prompts else [])]
        asking = compare.ask(services, panel, questions, system, sampling, follows=follow, keep=False)
        for _ in asking.run():
            pass
    told = asking.comparison
    titles = [f"{each.name} ({each.key})" for each in panel]
    report(compare.as_records(told, titles), json, _as_text(told, titles))


def _read_prompts(services: Services, name: str) -> list[str]:
    path = typed_path(name)
    return prompt_sets.read_prompt_file(path) if path.is_file() else list(prompt_sets.find_set(services, name).prompts)


def _as_text(told: Comparison, titles: list[str]) -> str:
    lines = []
    for each in told.rounds:
        lines += [*textwrap.wrap(each.question, WIDTH), ""]
        for title, answer in zip(titles, each.answers, strict=True):
            lines += [f"  {title}", textwrap.indent(answer.text or "…", "    "), ""]
    return "\n".join(lines).rstrip()
