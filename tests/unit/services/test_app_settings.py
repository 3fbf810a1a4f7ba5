"""The app's settings: what is refused beside which field, the way back, the defaults of new runs, who may jump the queue."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tunesmith.access.people import ADMIN, TRAINER, Person
from tunesmith.errors import UserError
from tunesmith.services import queue, system, training, training_defaults
from tunesmith.services.context import Services, load_settings, settings_file
from tunesmith.services.home import demo_config
from tunesmith.settings.files import from_mapping, read_yaml
from tunesmith.settings.schema import AppSettings
from tunesmith.training.config import LoraParameters, TrainConfig


@pytest.fixture(autouse=True)
def _own_file(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_DATA_DIR", str(services.data_dir))


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("model_folders", ["/no/such/folder"], "folder_missing"),
        ("model_folders", ["relative"], "folder_not_absolute"),
        ("exports_folder", "/no/such/folder", "folder_missing"),
        ("lmstudio_folder", "/no/such/folder", "folder_missing"),
        ("data_folder", "relative", "folder_not_absolute"),
        ("data_folder", __file__, "data_folder_is_file"),
        ("port", 80, "setting_too_small"),
        ("port", 70_000, "setting_too_large"),
        ("theme", "blue", "setting_choice"),
        ("queue_jump", "nobody", "setting_choice"),
        ("quiet_hours", "22:00-", "quiet_hours_unreadable"),
        ("quiet_hours", "25:00-26:00", "quiet_hours_unreadable"),
        ("quiet_hours", "22:00Z-07:00Z", "quiet_hours_unreadable"),
        ("quiet_hours", "22:00+09:00-07:00+09:00", "quiet_hours_unreadable"),
        ("quiet_hours", "09:00-09:00", "quiet_hours_empty"),
        ("lan_names", ["http://mac.local"], "host_name_wrong"),
        ("lan_names", ["a b"], "host_name_wrong"),
        ("ollama_url", "ftp://127.0.0.1", "endpoint_address_wrong"),
        ("ollama_url", "http://elsewhere.example", "endpoint_host_not_allowed"),
        ("training_defaults", {"itres": 3}, "setting_unknown"),
        ("training_defaults", {"lora_parameters": {"rank": 0}}, "setting_too_small"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(services: Services, name: str, value: object, code: str) -> None:
    problems = system.check_settings(services, {"language": "ja", name: value})
    assert {field: problem.code for field, problem in problems.items()} == {name: code}
    with pytest.raises(UserError) as error:
        system.save_settings(services, language="ja", **{name: value})
    assert error.value.code == code
    assert not settings_file().exists()
    assert services.settings.language == "auto"


def test_what_is_right_is_saved_and_read_again(services: Services, tmp_path: Path) -> None:
    changes = {
        "model_folders": [str(tmp_path)], "exports_folder": str(tmp_path), "quiet_hours": "22:00-07:00", "port": 9000,
        "lan_names": ["mac.local"], "endpoint_hosts": ["127.0.0.1", "judge.lan"], "ollama_url": "http://judge.lan:11434",
        "queue_jump": "own", "memory_budget_gb": 16.0,
    }  # fmt: skip
    assert system.check_settings(services, changes) == {}
    saved = system.save_settings(services, **changes)
    assert load_settings() == saved == services.settings
    assert (saved.quiet_hours, saved.lan_names, saved.memory_budget_gb) == ("22:00-07:00", ("mac.local",), 16.0)


def test_a_group_goes_back_to_the_shipped_values_alone(services: Services) -> None:
    system.save_settings(services, port=9000, queue_jump="admins", quiet_hours="01:00-02:00")
    system.reset_settings(services, "queue")
    assert (services.settings.port, services.settings.queue_jump, services.settings.quiet_hours) == (9000, "everyone", "")


def test_every_setting_has_a_group_or_is_drawn_elsewhere() -> None:
    for field in dataclasses.fields(AppSettings):
        assert bool(field.metadata["group"]) != (field.metadata["kind"] == "hidden"), field.name


def test_new_forms_begin_with_an_admin_s_settings(services: Services) -> None:
    chosen = dataclasses.replace(
        demo_config(), iters=77, batch_size=2, learning_rate=3e-4, max_seq_length=256, save_every=11, name="mine",
        lora_parameters=LoraParameters(rank=5),
    )  # fmt: skip
    with pytest.raises(UserError, match="role_needed"):
        training_defaults.keep_defaults(services.of(Person("Tom", TRAINER)), chosen)
    training_defaults.keep_defaults(services.of(Person("Ada", ADMIN)), chosen)
    form = training.default_config(services)
    assert (form.iters, form.batch_size, form.learning_rate, form.max_seq_length, form.save_every) == (77, 2, 3e-4, 256, 11)
    assert (form.lora_parameters.rank, form.name, form.data) == (5, "", "company_facts")
    written = read_yaml(settings_file())["training_defaults"]
    assert written["lora_parameters"] == {"rank": 5}
    assert "name" not in written
    assert "weight_decay" not in written  # as shipped
    assert from_mapping(AppSettings, read_yaml(settings_file())) == services.settings


def test_a_default_method_brings_its_own_data(services: Services) -> None:
    training_defaults.keep_defaults(services, TrainConfig(model="demo", data="x").with_method("grpo"))
    form = training.default_config(services)
    assert (form.method, form.data, form.iters) == ("grpo", "arithmetic", 100)


def test_defaults_are_listed_and_put_back_one_by_one(services: Services) -> None:
    training_defaults.keep_defaults(services, TrainConfig(model="demo", iters=77, lora_parameters=LoraParameters(rank=5)))
    listed = {line.name: (line.value, line.shipped) for line in training_defaults.list_defaults(services)}
    assert listed == {"model": ("demo", ""), "method": ("sft", "sft"), "iters": (77, 200), "lora_parameters.rank": (5, 8)}
    training_defaults.reset_defaults(services, "lora_parameters.rank")
    assert services.settings.training_defaults == {"model": "demo", "method": "sft", "iters": 77}
    training_defaults.reset_defaults(services)
    assert training_defaults.list_defaults(services) == []
    assert training.default_config(services).iters == TrainConfig().iters


def test_a_file_means_the_same_run_everywhere(services: Services) -> None:
    training_defaults.keep_defaults(services, TrainConfig(model="demo", iters=77))
    assert training.parse_config("model: demo\ndata: company_facts\n").iters == TrainConfig().iters


@pytest.mark.parametrize(
    ("rule", "may"),
    [("everyone", {"Ann", "Tom", "Ada"}), ("own", {"Ann", "Ada"}), ("admins", {"Ada"})],
)
def test_who_may_change_the_order(services: Services, rule: str, may: set[str]) -> None:
    ann, tom, ada = (services.of(Person(name, role)) for name, role in (("Ann", TRAINER), ("Tom", TRAINER), ("Ada", ADMIN)))
    training.submit(tom, dataclasses.replace(demo_config(), name="first"))
    run = training.submit(ann, dataclasses.replace(demo_config(), name="second"))
    system.save_settings(services, queue_jump=rule)
    for who in (ann, tom, ada):
        before = services.store.queue_place(services.store.get(run))
        shown = next(waiting for waiting in queue.overview(who).waiting if waiting.id == run)
        assert (shown.locked is None) == (who.person.name in may)
        if who.person.name in may:
            queue.set_priority(who, run, 1)
            queue.set_priority(who, run, 0)
            continue
        for act in (lambda who=who: queue.move(who, run, "first"), lambda who=who: queue.set_priority(who, run, 1)):
            with pytest.raises(UserError) as error:
                act()
            assert error.value.code == f"queue_jump_{rule}"
        assert services.store.queue_place(services.store.get(run)) == before


def test_a_run_of_nobody_is_everybody_s(services: Services) -> None:
    run = training.submit(services.of(Person("", ADMIN)), demo_config())
    system.save_settings(services, queue_jump="own")
    queue.set_priority(services.of(Person("Tom", TRAINER)), run, 1)
    assert services.store.queue_place(services.store.get(run))[0] == 1
