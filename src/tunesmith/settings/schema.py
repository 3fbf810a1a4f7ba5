"""The app's own settings: folders, language, theme, address, queue. Training settings are in `training/config.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunesmith.settings.fields import setting

EVERYONE, OWN, ADMINS = "everyone", "own", "admins"


@dataclass(frozen=True)
class AppSettings:
    """What holds for the whole app; saved in the user's file over `config/default.yaml`."""

    language: str = setting(
        "auto", choices=("auto", "en", "ja"), label="Language", group="appearance",
        help="Language of the pages for everybody who has chosen none. Automatic follows the browser.",
    )  # fmt: skip
    theme: str = setting(
        "auto", choices=("auto", "light", "dark"), label="Theme", group="appearance",
        help="Light or dark pages for everybody who has chosen none. Automatic follows the system.",
    )  # fmt: skip
    data_folder: str = setting(
        "", kind="folder", label="Data folder", group="folders", restart=True,
        help="Where experiments, data sets and adapters are kept. Empty: the system's standard folder. Nothing is moved.",
    )  # fmt: skip
    model_folders: tuple[str, ...] = setting(
        tuple, kind="folders", label="Model folders", group="folders",
        help="Folders that hold models, one per line. Each model is a folder with config.json and safetensors files.",
    )  # fmt: skip
    exports_folder: str = setting(
        "", kind="folder", label="Exports folder", group="folders",
        help="Where new exports go. Empty: the folder exports in the data folder. What was exported before stays where it is.",
    )  # fmt: skip
    lmstudio_folder: str = setting(
        "", kind="folder", label="LM Studio models folder", group="folders",
        help="Where LM Studio keeps its models. Empty: its standard folder.",
    )  # fmt: skip
    model_upload_gb: float = setting(
        50.0, minimum=0.0, maximum=2000, unit="GB", label="Largest model upload", group="folders",
        help="How much a trainer may upload as one model, through the page or the API; it goes straight to the disk. 0: nobody may.",
    )  # fmt: skip
    endpoint_hosts: tuple[str, ...] = setting(
        lambda: ("127.0.0.1", "localhost"), label="Allowed endpoint hosts", group="endpoints",
        help="Hosts, one per line, that may be asked to generate or judge data. What is sent there leaves this computer. "
        "127.0.0.1:8080 allows that port only. A name of your own network is written with its address: judge.lan=192.168.1.5.",
    )  # fmt: skip
    ollama_url: str = setting(
        "http://127.0.0.1:11434", label="Ollama address", group="endpoints",
        help="Where Ollama answers. Its host must be one of the allowed endpoint hosts.",
    )  # fmt: skip
    quiet_hours: str = setting(
        "", kind="hours", label="Quiet hours", group="queue",
        help="No run is started between these times of day, by this computer's clock; runs that go on are left alone. "
        "They may pass midnight. Empty: none.",
    )  # fmt: skip
    restarts: int = setting(
        3, minimum=0, maximum=3, label="Restarts of interrupted runs", group="queue",
        help="How often a run goes on by itself from its newest checkpoint when its process was killed, as by a power cut. It does so "
        "only while it gets further each time, never after an error of its settings or data. 0: it waits for “Resume”.",
    )  # fmt: skip
    queue_jump: str = setting(
        EVERYONE, choices=(EVERYONE, OWN, ADMINS), label="Who may change the order of the queue", group="queue",
        help="Moving a waiting run and giving it a priority. Trainers may do so with any run, with their own ones, or only admins may. "
        "Pausing and stopping stays every trainer's.",
    )  # fmt: skip
    memory_budget_gb: float = setting(
        0.0, minimum=0.0, maximum=4096, unit="GB", label="Memory for runs", group="memory",
        help="The plan before a run warns when it would need more than this. 0: what is free at that moment.",
    )  # fmt: skip
    lan_names: tuple[str, ...] = setting(
        tuple, label="Names in the network", group="network", restart=True,
        help="Further names, one per line, by which browsers call this computer when it is open to the network. "
        "Its own names and addresses are known.",
    )  # fmt: skip
    port: int = setting(
        8501, minimum=1024, maximum=65535, label="Port", group="network", restart=True, help="The port of the page on this computer."
    )
    training_defaults: dict[str, Any] = setting(  # noqa: RUF009 (a field of its own)
        dict, kind="hidden", label="Defaults for new runs",
        help="Settings, under their names in a run's file, that the form of a new run begins with in place of the shipped ones.",
    )  # fmt: skip
