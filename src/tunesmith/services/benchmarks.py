"""Benchmarks: which tasks there are, start them on variants, read what came out. Knows no lm-eval: a worker process imports it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.evaluation.benchmark_results import RESULTS, SAMPLES
from tunesmith.evaluation.benchmark_tasks import BenchmarkRules, LocalTask, list_tasks, read_task
from tunesmith.jobs.job import Job
from tunesmith.services import jobs
from tunesmith.services.context import Services
from tunesmith.services.rights import needs
from tunesmith.services.shelved import find_kept
from tunesmith.services.shelved import resume as resume_kept
from tunesmith.services.variants import VariantInfo, as_record, plain_names
from tunesmith.settings.fields import check_values
from tunesmith.settings.files import to_mapping
from tunesmith.store.files import LineTail, read_json
from tunesmith.system.paths import DEMO_TASKS, REPOSITORY, typed_path
from tunesmith.system.secrets import hub_environment

KIND = "benchmark"
MOST_VARIANTS = 8
LONGEST_TITLE = 100
CACHES = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "XDG_CACHE_HOME")
Place = tuple[str, str, str]  # task, metric, filter


@dataclass(frozen=True)
class Cell:
    """A variant's figure of a task; `stderr` and the difference to its base are None where they cannot be told.

    `low` and `high` bound the difference with 95 % confidence, over `rows` paired rows that the base was asked too.
    """

    value: float
    stderr: float | None
    rows: int
    num_fewshot: int | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def surely_differs(self) -> bool:
        """Whether the interval leaves out no difference."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark found: cells by (task, metric, filter) and variant, all in the order asked.

    `higher_is_better` by place, None unknown. `truncated`: inputs that lost their beginning, by variant.
    """

    variants: dict[str, dict[str, Any]]
    cells: dict[Place, dict[str, Cell]]
    higher_is_better: dict[Place, bool | None]
    truncated: dict[str, int]

    @property
    def has_differences(self) -> bool:
        """Whether any variant could be compared with its base."""
        return any(cell.difference is not None for row in self.cells.values() for cell in row.values())


def is_installed() -> bool:
    """Return whether lm-eval is there."""
    return importlib.util.find_spec("lm_eval") is not None


def install_command() -> str:
    """Return the command that adds lm-eval to this installation."""
    source = f"-e '{REPOSITORY}[eval]'" if (REPOSITORY / "pyproject.toml").is_file() else "'tunesmith[eval]'"
    return f"{sys.executable} -m pip install {source}"


def require_installed() -> None:
    """Refuse what needs lm-eval where it is not there. Raises UserError `benchmark_not_installed`."""
    if not is_installed():
        raise UserError("benchmark_not_installed", command=install_command())


def tasks_folder(s: Services) -> Path:
    """Return the folder for a person's own task files."""
    return s.data_dir / "tasks"


def local_tasks(s: Services) -> list[LocalTask]:
    """Return the shipped task files and a person's own, broken ones with their problem."""
    return list_tasks([tasks_folder(s), DEMO_TASKS])


@needs(TRAINER)
def start(s: Services, variants: Sequence[VariantInfo], tasks: Sequence[str], rules: BenchmarkRules) -> str:
    """Start to ask the variants, and return the job's id.

    A task is the name or path of a task file, a folder of them, or a name that lm-eval knows (whose data set is downloaded).
    Raises UserError `benchmark_not_installed`, `benchmark_without_variants`, `benchmark_without_tasks`, `benchmark_task_twice`,
    `too_many_variants`, `file_missing`, `yaml_unreadable`, `task_…`, `setting_…`.
    """
    check_values(rules)
    require_installed()
    unique = {variant.key: variant for variant in variants}
    if not unique:
        raise UserError("benchmark_without_variants")
    if len(unique) > MOST_VARIANTS:
        raise UserError("too_many_variants", asked=len(unique), most=MOST_VARIANTS)
    files, names = find_tasks(s, tasks)
    records = [as_record(variant) for variant in unique.values()]
    told = f"{', '.join(plain_names(records).values())} · {', '.join([*(path.stem for path in files), *names])}"
    request = {
        "name": told[:LONGEST_TITLE], "variants": records,
        "task_files": [str(path) for path in files], "task_names": names, "rules": to_mapping(rules),
    }  # fmt: skip
    return jobs.start(s, KIND, request, environment=_environment(names), shelf=jobs.EVALUATIONS)


def _environment(names: Sequence[str]) -> dict[str, str] | None:
    """Return what a worker needs to download the data of lm-eval's own tasks, None without any."""
    return hub_environment() | {name: os.environ[name] for name in CACHES if name in os.environ} if names else None


@needs(TRAINER)
def resume(s: Services, job_id: str) -> None:
    """Let an ended benchmark go on: tasks that a variant has been asked are not asked again; works beside an open app.

    Raises UserError `benchmark_not_installed`, `evaluation_unknown`, `job_running`.
    """
    require_installed()
    resume_kept(s, job_id, _environment(find_kept(s, job_id, KIND).request["task_names"]))


def find_tasks(s: Services, tasks: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the checked task files and lm-eval's own names. Raises UserError as `start` does."""
    known = {task.name: task.path for task in local_tasks(s)}
    files: list[Path] = []
    names: list[str] = []
    for task in tasks:
        path = typed_path(task)
        if task in known:
            files.append(known[task])
            continue
        is_path = "/" in str(path) or path.suffix == ".yaml"
        if is_path or path.is_dir():
            s.require_path(path)
        if path.is_dir():
            files += sorted(path.resolve().glob("*.yaml"))
        elif is_path:
            files.append(path.resolve())
        else:
            names.append(task)
    titles = [str(read_task(path).config["task"]) for path in files] + names
    if not titles:
        raise UserError("benchmark_without_tasks")
    if twice := [title for title in titles if titles.count(title) > 1]:
        raise UserError("benchmark_task_twice", name=twice[0])
    return files, names


def read_result(job: Job) -> BenchmarkResult:
    """Return what an ended benchmark found. Raises UserError `store_file_unreadable`, FileNotFoundError."""
    found = read_json(job.folder / RESULTS)
    paired = {(*_place(each), each["variant"]): each for each in found["differences"]}
    cells: dict[Place, dict[str, Cell]] = {}
    better: dict[Place, bool | None] = {}
    for figure in found["figures"]:
        place, difference = _place(figure), paired.get((*_place(figure), figure["variant"]), {})
        better[place] = figure["higher_is_better"]
        cells.setdefault(place, {})[figure["variant"]] = Cell(
            figure["value"], figure["stderr"], figure["rows"], figure["num_fewshot"], *map(difference.get, ("difference", "low", "high"))
        )  # fmt: skip
    return BenchmarkResult({each["key"]: each for each in job.request["variants"]}, cells, better, found["truncated"])


def _place(record: Mapping[str, Any]) -> Place:
    return record["task"], record["metric"], record["filter"]


def read_samples(job: Job, task: str, filter_name: str) -> dict[int, dict[str, dict[str, Any]]]:
    """Return a task's rows by number and variant: prompt, what was expected, what came, figures."""
    rows: dict[int, dict[str, dict[str, Any]]] = {}
    for sample in LineTail(job.folder / SAMPLES).read_new():
        if (sample["task"], sample["filter"]) == (task, filter_name):
            rows.setdefault(sample["row"], {})[sample["variant"]] = sample
    return rows


def report_json(job: Job) -> bytes:
    """Return all that a benchmark found, without the rows, and what was asked, as JSON."""
    asked = {name: job.request[name] for name in ("name", "variants", "rules", "task_names", "created_at")}
    files = [Path(path).name for path in job.request["task_files"]]
    plain = [{k: v for k, v in variant.items() if not k.endswith("_path")} for variant in asked["variants"]]
    found = read_json(job.folder / RESULTS)
    return orjson.dumps(asked | {"variants": plain, "task_files": files} | found, option=orjson.OPT_INDENT_2)


def samples_file(job: Job) -> Path:
    """Return the file of all rows, JSON lines."""
    return job.folder / SAMPLES
