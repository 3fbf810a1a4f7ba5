"""The process of the reward workbench: `python -m tunesmith.jobs.reward_trial`, a JSON request in, one JSON line out. Knows no pages.

Patterns and files that people wrote are tried here, so that none of them can stop the page.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tunesmith.errors import UserError
from tunesmith.system.environment import worker_environment
from tunesmith.training.rewards.scoring import RewardSet, Scores
from tunesmith.training.rewards.spec import Completion, RewardSpec

SECONDS = 60.0


def try_rewards(
    specs: Sequence[RewardSpec], folder: Path, prompts: Sequence[str], completions: Sequence[Completion], rows: Sequence[dict[str, Any]]
) -> Scores:
    """Score completions in a process of its own; a function that fails is told in `skipped`. Raises UserError `reward_…`."""
    request = {
        "specs": [asdict(spec) for spec in specs], "folder": str(folder), "prompts": list(prompts),
        "completions": [asdict(completion) for completion in completions], "rows": list(rows),
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tunesmith.jobs.reward_trial"], input=orjson.dumps(request), env=worker_environment(os.environ),
            capture_output=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UserError("rewards_too_slow", seconds=SECONDS) from error
    try:
        answer = orjson.loads(done.stdout.splitlines()[-1])
    except (IndexError, orjson.JSONDecodeError) as error:
        raise UserError("rewards_too_slow", seconds=SECONDS) from error
    if "error" in answer:
        raise UserError(answer["error"]["code"], **answer["error"]["facts"])
    scores = {name: np.array([np.nan if v is None else v for v in values]) for name, values in answer["by_function"].items()}
    skipped = {name: UserError(error["code"], **error["facts"]) for name, error in answer["skipped"].items()}
    return Scores(np.array(answer["total"]), scores, skipped)


def _score_here(request: dict[str, Any]) -> dict[str, Any]:
    rewards = RewardSet([RewardSpec(**spec) for spec in request["specs"]], Path(request["folder"]), skip_failing=True)
    try:
        scores = rewards.score(request["prompts"], [Completion(**c) for c in request["completions"]], request["rows"])
    finally:
        rewards.close()
    plain = {name: [None if np.isnan(v) else float(v) for v in values] for name, values in scores.by_function.items()}
    skipped = {name: error.as_record() for name, error in scores.skipped.items()}
    return {"total": scores.total.tolist(), "by_function": plain, "skipped": skipped}


def main() -> None:
    """Be the process that scores; its one line tells the scores or what is wrong."""
    try:
        answer = _score_here(orjson.loads(sys.stdin.buffer.read()))
    except UserError as error:
        answer = {"error": error.as_record()}
    sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")


if __name__ == "__main__":
    main()
