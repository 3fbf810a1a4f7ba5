"""All reward functions of a run on a batch of completions: each one's scores and their weighted sum. Knows no models."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.errors import UserError
from tunesmith.training.rewards.custom import RewardFile
from tunesmith.training.rewards.registry import build_reward
from tunesmith.training.rewards.spec import Completion, Reward, RewardSpec

SHOWN_PROMPT = 100  # characters
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Of N completions: `total` [N], the weighted sum, and each function's scores [N] by name, NaN where it had nothing to say.

    `skipped` are functions that failed and were left out, with the reason.
    """

    total: Floats
    by_function: dict[str, Floats]
    skipped: dict[str, UserError]


class RewardSet:
    """The functions that a run's settings name, ready to score; a closed set can be used again."""

    def __init__(self, specs: Sequence[RewardSpec], folder: Path, skip_failing: bool = False) -> None:
        """Build the built-in functions. Raises UserError `reward_…`, `setting_…`, `rewards_missing`."""
        if not specs:
            raise UserError("rewards_missing")
        self.specs = list(specs)
        self.names = unique_names(specs)
        self._skip_failing = skip_failing
        self._built: dict[str, Reward] = {n: build_reward(s) for n, s in zip(self.names, specs, strict=True) if not s.is_custom}
        self._files = {s.file: RewardFile(folder / _plain_name(s.file)) for s in specs if s.is_custom}

    def open(self) -> None:
        """Load the custom files now, so that a broken one is known before anything is generated. Raises UserError `reward_…`."""
        try:
            for name, file in self._files.items():
                known = file.functions()
                for spec in self.specs:
                    if spec.file == name and spec.name not in known:
                        raise UserError("reward_function_unknown", function=spec.name, file=name, known=", ".join(known) or "–")
        except UserError:
            self.close()
            raise

    def score(self, prompts: Sequence[Any], completions: Sequence[Completion], rows: Sequence[Mapping[str, Any]]) -> Scores:
        """Return what N completions are worth; `rows` are theirs, all columns.

        Custom functions are called as trl calls them: `prompts`, `completions` (texts), every column of the rows by name, and ours:
        `completion_tokens`, `truncated`. Raises UserError `reward_…` naming the function, unless failing ones are skipped.
        """
        by_function: dict[str, Floats] = {}
        skipped: dict[str, UserError] = {}
        for name, spec in zip(self.names, self.specs, strict=True):
            try:
                values = self._values(name, spec, prompts, completions, rows)
            except UserError as error:
                if not self._skip_failing:
                    raise
                values = [None] * len(completions)
                skipped[name] = error
            by_function[name] = np.array([np.nan if value is None else value for value in values], np.float64)
        weighted = [spec.weight * by_function[name] for name, spec in zip(self.names, self.specs, strict=True)]
        return Scores(np.nansum(np.stack(weighted), axis=0), by_function, skipped)

    def _values(
        self, name: str, spec: RewardSpec, prompts: Sequence[Any], completions: Sequence[Completion], rows: Sequence[Mapping[str, Any]]
    ) -> list[float | None]:
        if not spec.is_custom:
            function = self._built[name]
            return [function.score(completion, row) for completion, row in zip(completions, rows, strict=True)]
        columns = {column: [row.get(column) for row in rows] for column in dict.fromkeys(column for row in rows for column in row)}
        arguments = columns | {
            "prompts": list(prompts), "completions": [c.text for c in completions],
            "completion_tokens": [c.tokens for c in completions], "truncated": [c.truncated for c in completions],
        }  # fmt: skip
        arguments.pop("prompt", None)
        try:
            return self._files[spec.file].score(spec.name, arguments, len(completions))
        except UserError as error:
            raise self._located(spec, error, prompts, arguments) from error

    def _located(self, spec: RewardSpec, error: UserError, prompts: Sequence[Any], arguments: Mapping[str, list[Any]]) -> UserError:
        """Return the error with the prompt at which it happens, found by asking for one completion at a time; as it is if none fails."""
        if error.code == "reward_not_a_number":
            told = str(prompts[int(str(error.facts["completion"])) - 1])[:SHOWN_PROMPT]
            return UserError("reward_not_a_number_at", function=spec.name, file=spec.file, found=error.facts["found"], prompt=told)
        if error.code != "reward_failed":
            return error
        for number, prompt in enumerate(prompts):
            try:
                self._files[spec.file].score(spec.name, {name: values[number : number + 1] for name, values in arguments.items()}, 1)
            except UserError as alone:
                if alone.code != "reward_failed":
                    return error
                line, reason = alone.facts["line"], alone.facts["reason"]
                told = str(prompt)[:SHOWN_PROMPT]
                return UserError("reward_failed_at", function=spec.name, file=spec.file, line=line, reason=reason, prompt=told)
        return error

    def close(self) -> None:
        """End the custom files' processes."""
        for file in self._files.values():
            file.close()


def _plain_name(file: str) -> str:
    """Return a file's name when it names nothing outside of the rewards folder. Raises UserError `reward_file_missing`."""
    if not file or file != Path(file).name or "\0" in file:
        raise UserError("reward_file_missing", file=file)
    return file


def unique_names(specs: Sequence[RewardSpec]) -> list[str]:
    """Return a name for each function: its own, with a number behind it when it comes again."""
    names: list[str] = []
    for spec in specs:
        numbers = itertools.count(2)
        name = spec.name
        while name in names:
            name = f"{spec.name}_{next(numbers)}"
        names.append(name)
    return names
