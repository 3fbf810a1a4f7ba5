"""Every service function is either marked with the role that it needs, or stands here as one that everybody who came in may call."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.idle_services import idle_services
from tunesmith.access.people import ADMIN, ROLES, TRAINER, VIEWER, Person
from tunesmith.errors import UserError
from tunesmith.services import adapters, benchmarks, datasets, rights, system, training
from tunesmith.services.context import Services
from tunesmith.services.home import demo_config

SERVICES = Path(__file__).resolve().parents[2] / "src" / "tunesmith" / "services"
OPEN_TO_ALL = {
    "adapters": "list_adapters find_adapter",
    "arena": "open_store list_arenas find_available ask vote retract read_ballots prompts_of",
    "asking": "stream_answers",
    "attachments": "rewards_folder attachments find_adapter find_reward_file",
    "benchmarks": "tasks_folder local_tasks find_tasks",
    "compare": "make_panel suggested_prompts ask follow_up history count_history open_comparison",
    "computer": "look",
    "dataset_versions": "versions",
    "damage": "find_damage",
    "datasets": "open_store all_datasets find_dataset list_datasets report rows row_value row_values",
    "evaluation_results": "best_so_far ask",
    "evaluations": "training_data list_evaluations find",
    "experiment_views": "read keep",
    "experiments": "look table row_of trashed trashed_count name_of",
    "exports": "list_sources find_source exports_folder list_made find_made",
    "fusion": "check layers_of find_map",
    "home": "overview",
    "jobs": "list_jobs at_work find_job log_tail",
    "judging": "estimate list_judgements find",
    "keys": "list_keys find_key",
    "lineage": "lineage_of data_hash",
    "model_hub": "free_bytes list_downloads",
    "model_library": "origin_of what_uses count_adapters",
    "model_uploads": "most_bytes check_name",
    "models": "list_models made_models_folder read_model find_model",
    "ollama": "client models ask",
    "overlays": "statuses_of recorded without_axis pack_overlay figures_of",
    "plan": "memory_budget_bytes plan_memory",
    "prompt_sets": "list_sets find_set",
    "queue": "overview why_not_moved",
    "rewards": "custom_functions",
    "rights": "note_visit may_change require_own",
    "rollouts": "steps groups",
    "run_facts": "files_of adapter_bytes log_of environment_of base_hash_of uses_of changes_since",
    "run_family": "family_of",
    "run_metrics": "metrics_csv",
    "run_packages": "size_of pack_small pack_into packed_file",
    "run_settings": "settings_of compare_settings",
    "runs": "snapshot events log_tail config_yaml read_config series_state pack_series marks",
    "serving": "list_servers find",
    "shelved": "find_kept",
    "storage": "begin_count last_report share_counted cleanable list_exports",
    "sweep_results": "metrics_to_compare sweep_result",
    "synthesis": "list_generations find_generation",
    "system": "status check_settings is_quiet_now",
    "training": "default_config preview require_own_computer require_startable",
    "training_defaults": "list_defaults",
    "variants": "list_variants checkpoints_of find_variant base_of",
    "xray": "xray_row",
}


def functions() -> Iterator[tuple[str, str, str | None]]:
    """Yield every public function that works with the services: its module, its name, the role that it is marked with."""
    for path in sorted(SERVICES.glob("*.py")):
        module = importlib.import_module(f"tunesmith.services.{path.stem}")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            first = [*node.args.posonlyargs, *node.args.args][:1]
            if first and first[0].arg == "s":
                yield path.stem, node.name, getattr(getattr(module, node.name), "needed_role", None)


MARKED = [(module, name, role) for module, name, role in functions() if role]


@pytest.fixture
def services(data_dir: Path) -> Iterator[Services]:
    del data_dir
    with idle_services() as opened:
        yield opened


def test_what_is_not_marked_is_known_to_be_open_to_all() -> None:
    open_now = {(module, name) for module, name, role in functions() if role is None}
    assert open_now == {(module, name) for module, names in OPEN_TO_ALL.items() for name in names.split()}


@pytest.mark.parametrize(("module", "name", "role"), MARKED, ids=[f"{module}.{name}" for module, name, _ in MARKED])
def test_lower_roles_are_refused_before_anything_is_done(services: Services, module: str, name: str, role: str) -> None:
    act = getattr(importlib.import_module(f"tunesmith.services.{module}"), name)
    for lower in ROLES[: ROLES.index(role)]:
        with pytest.raises(UserError) as error:
            act(services.of(Person("Eve", lower)))  # without its arguments: it would fail if it were entered
        assert (error.value.code, error.value.facts) == ("role_needed", {"role": role})
    assert rights.audit(services) == []


def test_settings_are_an_admin_s(services: Services) -> None:
    with pytest.raises(UserError, match="role_needed"):
        system.save_settings(services.of(Person("Tom", TRAINER)), theme="dark")
    system.save_settings(services.of(Person("Ada", ADMIN)), theme="dark")
    assert services.settings.theme == "dark"


def test_what_was_done_is_noted_once_with_who_did_it(services: Services) -> None:
    ada = services.of(Person("Ada", TRAINER))
    run = training.start(ada, replace(demo_config(), name="noted"))
    (line,) = rights.audit(services)
    assert (line["person"], line["role"], line["action"]) == ("Ada", TRAINER, "training.start")
    assert services.store.get(run).owner == "Ada"


def test_paths_of_the_computer_are_an_admin_s(services: Services, tmp_path: Path) -> None:
    rows = tmp_path / "private.jsonl"
    rows.write_text('{"text": "private"}\n')
    tom, ada = services.of(Person("Tom", TRAINER)), services.of(Person("Ada", ADMIN))
    for ask in (
        lambda: datasets.find_dataset(tom, str(rows)), lambda: datasets.find_dataset(tom, str(tmp_path / "not there")),
        lambda: adapters.start_import(tom, tmp_path, "mine", "demo"), lambda: benchmarks.find_tasks(tom, [str(tmp_path)]),
        lambda: benchmarks.find_tasks(tom, [str(tmp_path / "task.yaml")]),
        lambda: training.start(tom, replace(demo_config(), data=str(rows))),
    ):  # fmt: skip
        with pytest.raises(UserError) as error:
            ask()
        assert error.value.code == "path_for_admins"
    assert datasets.find_dataset(ada, str(rows)).path == rows
    for act in (training.start, training.submit):
        with pytest.raises(UserError, match="role_needed"):
            act(tom, replace(demo_config(), hostfile=str(tmp_path / "hosts.json")))
    assert datasets.find_dataset(tom, "company_facts").shipped


def test_viewers_see_what_they_may(services: Services) -> None:
    assert services.of(Person("Vi", VIEWER)).read_only
    assert not services.of(Person("Tom", TRAINER)).read_only
