"""`tunesmith compare`: the same questions to several variants, their answers side by side. Calls the same services as the Compare page."""

from __future__ import annotations

import sys
import textwrap
from contextlib import closing
from typing import Annotated

import typer

from tunesmith.cli_output import Json, open_services, report, with_settings
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import t
from tunesmith.inference.sampling import Sampling
from tunesmith.services import compare, prompt_sets
from tunesmith.services.compare import Asking
from tunesmith.services.context import Services
from tunesmith.services.variants import find_variant
from tunesmith.store.comparisons import Answer, Comparison
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
    """Ask several variants the same, and print their answers side by side; Ctrl-C ends them and prints what was said."""
    with open_services() as services:
        found = [find_variant(services, key) for key in variant]
        panel = compare.make_panel(services, [(each, [each.strength]) for each in found], base)
        questions = [*(prompt or []), *(_read_prompts(services, prompts) if prompts else [])]
        if not questions:
            raise UserError("prompts_none")
        asking = compare.ask(services, panel, questions, system, sampling, follows=follow, keep=False)
        whole = _wait(asking, quiet=json)
    told = asking.comparison
    titles = [f"{each.name} ({each.key})" for each in panel]
    report(compare.as_records(told, titles), json, _as_text(told, titles))
    raise SystemExit(0 if whole else 130)


def _wait(asking: Asking, quiet: bool) -> bool:
    """Let the answers be written, their number told on the error stream; return whether nobody interrupted them."""
    done, total = 0, len(asking.panel) * len(asking.questions)
    try:
        with closing(asking.run()) as pieces:
            for number, place in pieces:
                last = asking.answers[number][place].last
                if last and last.finish:
                    done += 1
                    if not quiet:
                        sys.stderr.write(f"{t('compare.progress', 'en', done=done, all=total)}\n")
    except KeyboardInterrupt:
        return False
    return True


def _read_prompts(services: Services, name: str) -> list[str]:
    path = typed_path(name)
    if path.is_file():
        return prompt_sets.read_prompt_file(path)
    try:
        return list(prompt_sets.find_set(services, name).prompts)
    except UserError as error:
        raise UserError("prompts_missing", name=name) from error


def _as_text(told: Comparison, titles: list[str]) -> str:
    lines = []
    for each in told.rounds:
        lines += [*textwrap.wrap(each.question, WIDTH), ""]
        for title, answer in zip(titles, each.answers, strict=True):
            lines += [f"  {title}", textwrap.indent(answer.text or "…", "    "), f"    [{_figures(answer)}]", ""]
    return "\n".join(lines).rstrip()


def _figures(answer: Answer) -> str:
    if not answer.tokens:
        return t("compare.stopped", "en")
    speed = len(answer.tokens) / answer.seconds if answer.seconds else 0.0
    words = t("compare.figures", "en", tokens=len(answer.tokens), speed=f"{speed:.0f}", first=f"{answer.first_token_seconds or 0.0:.2f}")
    end = {"length": "compare.cut", "not_finite": "compare.not_finite", "": "compare.stopped"}.get(answer.finish)
    return f"{words} · {t(end, 'en')}" if end else words
