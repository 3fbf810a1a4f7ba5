"""Models and adapters carried elsewhere: what can be exported, the start of each export, what was made and by which run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.export.config import GgufRules, OllamaRules, QuantizeRules
from tunesmith.models.discovery import ModelInfo
from tunesmith.models.folder_layout import MANIFEST
from tunesmith.services import jobs
from tunesmith.services.adapters import AdapterInfo, find_adapter, list_adapters
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset
from tunesmith.services.lineage import lineage_of, read_manifest, runs_of
from tunesmith.services.models import find_model, list_models, made_models_folder, read_model
from tunesmith.services.rights import needs, require_own
from tunesmith.settings.fields import check_values
from tunesmith.store.saved_folders import drop_whole
from tunesmith.system.paths import as_file_name, resolve_under
from tunesmith.system.secrets import hub_environment, hub_token

EXPORT_KINDS = (
    "fuse_into_base", "quantize", "export_peft", "export_gguf", "export_gguf_lora", "export_ollama", "export_lmstudio", "upload",
)  # fmt: skip


DTYPES = ("", "float16", "bfloat16", "float32")  # empty: the base's own


@dataclass(frozen=True)
class Source:
    """What can be exported: a model, or an adapter on its base. `key` is `adapter:<id>` or `model:<id>`."""

    key: str
    name: str
    model: ModelInfo
    adapter: AdapterInfo | None

    @property
    def is_adapter(self) -> bool:
        """Whether there is an adapter to be carried alone or fused."""
        return self.adapter is not None


@dataclass(frozen=True)
class Made:
    """Something that an export made: a folder with a manifest."""

    name: str
    path: Path
    format: str
    size_bytes: int
    created_at: float
    manifest: dict[str, Any]
    runs: list[str]

    @property
    def owner(self) -> str:
        """Who made it; nothing where its manifest names nobody."""
        return str(self.manifest.get("owner", ""))

    @property
    def verified(self) -> bool:
        """Whether the export proved itself."""
        return bool((self.manifest.get("proof") or {}).get("verified"))

    @property
    def files(self) -> list[Path]:
        """The files that it is made of."""
        return sorted(path for path in self.path.iterdir() if path.is_file() and path.name != MANIFEST)


def list_sources(s: Services) -> list[Source]:
    """Return the adapters on readable bases, newest first, then the models."""
    models = [model for model in list_models(s) if model.problem is None]
    by_path = {model.path: model for model in models}
    found = []
    for adapter in list_adapters(s):
        if adapter.problem is None and adapter.model_path in by_path:
            found.append(Source(f"adapter:{adapter.id}", adapter.name, by_path[adapter.model_path], adapter))
    return found + [Source(f"model:{model.id}", model.id, model, None) for model in models]


def find_source(s: Services, key: str) -> Source:
    """Return what a key means; one without a kind is an adapter's or a model's id. Raises UserError `adapter_missing`, `model_…`."""
    kind, _, name = key.partition(":")
    if kind == "model" and name:
        model = find_model(s, name)
        return Source(key, model.id, model, None)
    try:
        adapter = find_adapter(s, name if kind == "adapter" else key)
    except UserError:
        if kind == "adapter":
            raise
        try:
            model = find_model(s, key)
        except UserError as error:
            raise UserError("export_source_unknown", name=key) if error.code == "model_unknown" else error from None
        return Source(f"model:{model.id}", model.id, model, None)
    return Source(f"adapter:{adapter.id}", adapter.name, read_model(s, adapter.model_path), adapter)


def exports_folder(s: Services) -> Path:
    """Return where new exports go: the folder of the settings, else one in the data folder."""
    chosen = s.settings.exports_folder
    return Path(chosen).expanduser() if chosen else s.data_dir / "exports"


def _kept_in(s: Services) -> list[Path]:
    """Return the folders that hold what exports made: today's, the one before it was changed, the models."""
    return list(dict.fromkeys((exports_folder(s), s.data_dir / "exports", made_models_folder(s))))


def _target(folder: Path, name: str) -> Path:
    """Return the folder of a new thing. Raises UserError `name_empty`, `target_exists`, `folder_missing` (a drive that is gone)."""
    if not name.strip():
        raise UserError("name_empty")
    if not folder.parent.is_dir():
        raise UserError("folder_missing", folder=str(folder))
    path = folder / as_file_name(name, "export")
    if path.exists():
        raise UserError("target_exists", name=path.name, folder=str(folder))
    return path


def _request(s: Services, source: Source, name: str, target: Path, **more: Any) -> dict[str, Any]:
    adapter = source.adapter
    lineage = lineage_of(s, source.model.id, source.model.path, adapter)
    return {
        "source": source.key, "name": " ".join(name.split()), "model": source.model.id, "model_path": str(source.model.path),
        "adapter_path": str(adapter.path) if adapter else "", "target_path": str(target), "lineage": lineage, **more,
    }  # fmt: skip


@needs(TRAINER)
def start_fused(s: Services, source: Source, name: str, dtype: str = "") -> str:
    """Start to fuse an adapter into its base; the result is a model of ours. Raises UserError `adapter_needed`, `target_exists`."""
    if not source.adapter:
        raise UserError("adapter_needed", name=source.name)
    if dtype not in DTYPES:
        raise UserError("setting_choice", field="dtype", value=dtype, choices=", ".join(DTYPES[1:]))
    target = _target(made_models_folder(s), name)
    needed = source.model.dense_bytes * (2 if dtype == "float32" else 1)
    return jobs.start(s, "fuse_into_base", _request(s, source, name, target, dtype=dtype), needed)


@needs(TRAINER)
def start_quantized(s: Services, source: Source, name: str, rules: QuantizeRules, data: str = "") -> str:
    """Start to make a model of ours in fewer bits; `data` is a data set whose held-out rows tell the change of perplexity.

    Raises UserError `setting_…`, `target_exists`, `disk_nearly_full`, `dataset_unknown`.
    """
    check_values(rules)
    target = _target(made_models_folder(s), name)
    data_path = str(find_dataset(s, data).path) if data else ""
    request = _request(s, source, name, target, rules=dataclasses.asdict(rules), data_path=data_path)
    return jobs.start(s, "quantize", request, source.model.dense_bytes * (2 if source.adapter else 1))


@needs(TRAINER)
def start_peft(s: Services, source: Source, name: str) -> str:
    """Start to write an adapter in PEFT's format. Raises UserError `adapter_needed`, `target_exists`, `disk_nearly_full`."""
    if not source.adapter:
        raise UserError("adapter_needed", name=source.name)
    return jobs.start(s, "export_peft", _request(s, source, name, _target(exports_folder(s), name)), source.adapter.size_bytes * 2)


@needs(TRAINER)
def start_gguf(s: Services, source: Source, name: str, rules: GgufRules) -> str:
    """Start to write a GGUF file of a model or of base and adapter together. Raises UserError `setting_…`, `target_exists`, `disk_…`."""
    check_values(rules)
    target = _target(exports_folder(s), name)
    request = _request(s, source, name, target, rules=dataclasses.asdict(rules))
    return jobs.start(s, "export_gguf", request, source.model.dense_bytes * 3)


@needs(TRAINER)
def start_gguf_lora(s: Services, source: Source, name: str) -> str:
    """Start to write an adapter as a GGUF file of its own. Raises UserError `adapter_needed`, `target_exists`, `disk_nearly_full`."""
    if not source.adapter:
        raise UserError("adapter_needed", name=source.name)
    request = _request(s, source, name, _target(exports_folder(s), name))
    return jobs.start(s, "export_gguf_lora", request, source.adapter.size_bytes + source.model.dense_bytes)  # the proof wears it


@needs(TRAINER)
def start_ollama(s: Services, made: Made, name: str, rules: OllamaRules) -> str:
    """Start to create an Ollama model of a GGUF export. Raises UserError `setting_…`, `gguf_missing`, `name_empty`."""
    check_values(rules)
    if not name.strip():
        raise UserError("name_empty")
    request = {
        "name": name.strip(), "gguf": str(gguf_of(made)), "rules": dataclasses.asdict(rules), "lineage": made.manifest,
        "url": s.settings.ollama_url, "allowed_hosts": list(s.settings.endpoint_hosts),
    }  # fmt: skip
    return jobs.start(s, "export_ollama", request)


def gguf_of(made: Made) -> Path:
    """Return an export's GGUF file of a model. Raises UserError `gguf_missing`."""
    for file in made.files:
        if file.suffix == ".gguf" and made.format == "gguf":
            return file
    raise UserError("gguf_missing", name=made.name)


@needs(TRAINER)
def start_lmstudio(s: Services, made: Made, publisher: str) -> str:
    """Start to copy an export or a model into LM Studio's folders. Raises UserError `lmstudio_…`, `disk_nearly_full`, `name_empty`."""
    request = {
        "path": str(made.path),
        "name": made.name,
        "publisher": publisher,
        "root": s.settings.lmstudio_folder,
        "lineage": made.manifest,
    }
    return jobs.start(s, "export_lmstudio", request)


@needs(TRAINER)
def start_upload(s: Services, made: Made, repository: str, private: bool, into_existing: bool = False) -> str:
    """Start to upload an export or a model to the model hub; the token goes to the worker alone. Raises UserError `hub_token_missing`."""
    if not hub_token():
        raise UserError("hub_token_missing")
    request = {"path": str(made.path), "name": made.name, "repository": repository.strip(), "private": private, "replace": into_existing}
    return jobs.start(s, "upload", request, environment=hub_environment())


def list_made(s: Services, run_id: str = "") -> list[Made]:
    """Return the exports, and the models that we made, newest first; those that come from one run with `run_id`."""
    found = [_made(path.parent) for root in _kept_in(s) for path in root.glob(f"*/{MANIFEST}")]
    kept = [made for made in found if (not run_id or run_id in made.runs) and not _is_as_it_came(made.manifest)]
    return sorted(kept, key=lambda made: made.created_at, reverse=True)


def _is_as_it_came(manifest: dict[str, Any]) -> bool:
    hub = manifest.get("hub")
    return "upload" in manifest or (isinstance(hub, dict) and hub.get("form") == "as_is")


def find_made(s: Services, name: str) -> Made:
    """Return an export or a made model by its name, or the one asked for. Raises UserError `export_unknown`, `name_not_allowed`."""
    for known in (name, as_file_name(name, name)):
        for root in _kept_in(s):
            if (resolve_under(root, known) / MANIFEST).is_file():
                return _made(root / known)
    raise UserError("export_unknown", name=name)


def _made(folder: Path) -> Made:
    manifest = read_manifest(folder)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return Made(
        folder.name, folder, str(manifest.get("format", "model")), size, float(manifest.get("made_at", 0.0)), manifest, runs_of(manifest)
    )


@needs(TRAINER)
def delete(s: Services, made: Made) -> None:
    """Delete something that an export made. Raises UserError `server_read_only`, `owned_by_another`."""
    s.require_writable()
    require_own(s, made.owner)
    drop_whole(made.path)
