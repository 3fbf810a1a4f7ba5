"""The process that generates rows: `python -m tunesmith.jobs.generation_worker FOLDER`. One line is written for each question."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.formats import Row
from tunesmith.data.row_files import read_splits
from tunesmith.data.synthesis import BadAnswerError, RowFilter, SynthesisRules, ask_for, read_answer, source_hash
from tunesmith.errors import UserError
from tunesmith.jobs.generation import QUESTIONS_AT_LEAST, QUESTIONS_PER_ROW, REJECTED, ROWS
from tunesmith.jobs.job import CANCEL, REQUEST
from tunesmith.jobs.job_worker import run_to_end
from tunesmith.store.files import AppendLog, LineTail, read_json
from tunesmith.store.locks import ProcessLock
from tunesmith.system.endpoint import Endpoint, EndpointClient, Reply

Ask = Callable[[Sequence[dict[str, str]], int], Reply]


def generate(folder: Path, ask: Ask, request: dict[str, Any]) -> str:
    """Ask until enough rows were accepted; return `completed`, `exhausted` or `cancelled`. Raises UserError `endpoint_…`."""
    rules = SynthesisRules(**request["rules"])
    earlier, rejected = list(LineTail(folder / ROWS).read_new()), list(LineTail(folder / REJECTED).read_new())
    keep, refuse = AppendLog(folder / ROWS), AppendLog(folder / REJECTED)
    row_filter = RowFilter(rules.near_threshold, earlier, _test_rows(request))
    accepted, asked = len(earlier), len(earlier) + len(rejected)
    try:
        while accepted < rules.count:
            if (folder / CANCEL).exists():
                return "cancelled"
            if asked >= max(QUESTIONS_AT_LEAST, QUESTIONS_PER_ROW * rules.count):
                return "exhausted"
            place = asked % len(request["sources"])
            row, told = _make_row(rules, request["sources"][place], asked, ask, row_filter)
            told |= {
                "source": place,
                "source_hash": source_hash(request["sources"][place]),
                "model": request["model_name"],
                "at": time.time(),
            }
            if row is None:
                refuse.append(told)
            else:
                keep.append({**row, "provenance": {"kind": rules.kind, **told}})
                accepted += 1
            asked += 1
        return "completed"
    finally:
        keep.close()
        refuse.close()


def _test_rows(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that must stay unknown: the test and validation rows of a data set."""
    if not request.get("tests"):
        return []
    splits = read_splits(Path(request["tests"]), ("valid", "test"))
    found: list[Row] = [row for result in splits.values() for row in result.rows]
    return [row.value for row in found]


def _make_row(
    rules: SynthesisRules, source: str, number: int, ask: Ask, row_filter: RowFilter
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Ask for one row, again while its form is wrong; return (row or None, what it took)."""
    complaints: list[tuple[str, str]] = []
    told: dict[str, Any] = {"prompt_tokens": 0, "completion_tokens": 0, "seconds": 0.0}
    for attempt in range(1, rules.attempts + 1):
        began = time.monotonic()
        reply = ask(ask_for(rules.kind, source, rules.language, complaints), number * rules.attempts + attempt)
        told["prompt_tokens"] += reply.prompt_tokens
        told["completion_tokens"] += reply.completion_tokens
        told["seconds"] = round(told["seconds"] + time.monotonic() - began, 3)
        told["attempt"] = attempt
        try:
            row = read_answer(rules.kind, reply.text, source)
        except BadAnswerError as error:
            complaints.append((reply.text, error.reason))
            told |= {"code": error.code, "reason": error.reason, "answer": reply.text[:2000]}
            continue
        if code := row_filter.reason(row):
            return None, told | {"code": code, "reason": "", "answer": reply.text[:2000]}
        return row, {name: part for name, part in told.items() if name not in {"code", "reason", "answer"}}
    return None, told


def _open_model(request: dict[str, Any], rules: SynthesisRules) -> Ask:
    if endpoint := request.get("endpoint"):
        client = EndpointClient(Endpoint(**endpoint), request["allowed_hosts"])
        return lambda messages, _: client.ask(messages, rules.temperature, rules.max_tokens)
    return _open_local(Path(request["model_path"]), Path(request["slot"]), rules)


def _open_local(path: Path, slot: Path, rules: SynthesisRules) -> Ask:
    lock = ProcessLock(slot)
    if not lock.acquire():  # held until this process ends; runs wait meanwhile
        raise UserError("accelerator_busy")
    from tunesmith.models.blas import prepare_worker

    prepare_worker()  # before the first import of mlx
    from tunesmith.inference.generation import generate_side_by_side
    from tunesmith.inference.sampling import Sampling
    from tunesmith.models.loading import load_model

    base = load_model(path)
    base.model.eval()

    def ask(messages: Sequence[dict[str, str]], seed: int) -> Reply:
        sampling = Sampling(temperature=rules.temperature, max_tokens=rules.max_tokens, seed=seed)
        deltas = list(generate_side_by_side(base.model, base.tokenizer, messages, sampling, [lambda: None]))
        return Reply("".join(delta.text for delta in deltas), 0, deltas[-1].tokens if deltas else 0)

    return ask


def main() -> int:
    """Generate; the last thing written is how it ended."""
    folder = Path(sys.argv[1])

    def work() -> dict[str, Any]:
        request = read_json(folder / REQUEST)
        return {"status": generate(folder, _open_model(request, SynthesisRules(**request["rules"])), request)}

    return run_to_end(folder, work)


if __name__ == "__main__":
    sys.exit(main())
