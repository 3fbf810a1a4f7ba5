"""The app's own settings: folders, language, theme, address. Training settings are in `training/config.py`."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.settings.fields import setting


@dataclass(frozen=True)
class AppSettings:
    """What holds for the whole app; saved in the user's file over `config/default.yaml`."""

    data_folder: str = setting(
        "", kind="folder", label="Data folder",
        help="Where experiments, data sets and adapters are kept. Empty: the system's standard folder. Takes effect at the next start.",
    )  # fmt: skip
    model_folders: tuple[str, ...] = setting(
        tuple, kind="folders", label="Model folders",
        help="Folders that hold models, one per line. Each model is a folder with config.json and safetensors files.",
    )  # fmt: skip
    language: str = setting(
        "auto", choices=("auto", "en", "ja"), label="Language",
        help="Language of the pages. Automatic follows the browser.",
    )  # fmt: skip
    theme: str = setting(
        "auto", choices=("auto", "light", "dark"), label="Theme",
        help="Light or dark pages. Automatic follows the system.",
    )  # fmt: skip
    memory_budget_gb: float = setting(
        0.0, minimum=0.0, maximum=4096, unit="GB", label="Memory for runs",
        help="The plan before a run warns when it would need more than this. 0: what is free at that moment.",
    )  # fmt: skip
    endpoint_hosts: tuple[str, ...] = setting(
        lambda: ("127.0.0.1", "localhost"), label="Allowed endpoint hosts",
        help="Hosts, one per line, that may be asked to generate or judge data. What is sent there leaves this computer.",
    )  # fmt: skip
    ollama_url: str = setting(
        "http://127.0.0.1:11434", label="Ollama address",
        help="Where Ollama answers. Its host must be one of the allowed endpoint hosts.",
    )  # fmt: skip
    lmstudio_folder: str = setting(
        "", kind="folder", label="LM Studio models folder",
        help="Where LM Studio keeps its models. Empty: its standard folder.",
    )  # fmt: skip
    quiet_hours: str = setting(
        "", label="Quiet hours",
        help="No run is started between these times of day, such as 09:00-18:00; runs that go on are left alone. Empty: none.",
    )  # fmt: skip
    lan_names: tuple[str, ...] = setting(
        tuple, label="Names in the network", advanced=True,
        help="Further names, one per line, by which browsers call this computer when it is open to the network. "
        "Its own names and addresses are known. Takes effect at the next start.",
    )  # fmt: skip
    port: int = setting(
        8501, minimum=1024, maximum=65535, label="Port", advanced=True,
        help="The port of the page on this computer. Takes effect at the next start.",
    )  # fmt: skip
