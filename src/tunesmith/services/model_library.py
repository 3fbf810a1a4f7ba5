"""Where each base model comes from, what rests on it, and the deletion of those that are ours. Knows no page."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.models.cards import card_licence
from tunesmith.models.discovery import ModelInfo
from tunesmith.services import adapters, jobs, serving
from tunesmith.services.context import Services
from tunesmith.services.lineage import read_manifest
from tunesmith.services.models import DEMO_MODEL_ID
from tunesmith.services.rights import needs, require_own
from tunesmith.store.experiment_record import ACTIVE
from tunesmith.store.model_folders import ModelFolders

NEEDING = ACTIVE | {"paused"}  # statuses of runs that go on with their base


@dataclass(frozen=True)
class Origin:
    """Where a model comes from: `place` is demo, hub, upload, made or folder; of the hub its name, commit, page and licence there."""

    place: str
    name: str = ""
    commit: str = ""
    address: str = ""
    licence: str = ""
    owner: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it lies in the app's own folder, so that it can be deleted here."""
        return self.place in {"hub", "upload", "made"}


def origin_of(s: Services, model: ModelInfo) -> Origin:
    """Return what is known of a model's coming here."""
    if model.id == DEMO_MODEL_ID:
        return Origin("demo", licence=card_licence(model.path))
    if not ModelFolders(s.data_dir).holds(model.path):
        return Origin("folder", licence=card_licence(model.path))  # what a foreign folder says of itself is not taken for ours
    manifest = read_manifest(model.path)
    hub = manifest["hub"] if isinstance(manifest.get("hub"), dict) else {}
    told = {key: str(hub.get(key) or "") for key in ("name", "commit", "address")}
    licence = str(hub.get("licence") or "") or card_licence(model.path)
    place = "hub" if hub else "upload" if manifest.get("upload") else "made"
    return Origin(place, owner=str(manifest.get("owner") or ""), licence=licence, **told)


def what_uses(s: Services, model: ModelInfo) -> list[str]:
    """Return the names of runs, jobs and servers that need a model now."""
    path = str(model.path)
    found = [run.name for run in s.store.listing().runs if run.experiment.model_path == path and run.experiment.status in NEEDING]
    found += [str(job.request.get("name") or job.id) for job, texts in jobs.at_work(s) if path in texts]
    found += [each.name for each in serving.list_servers(s) if each.model_path == model.path and each.status in {"starting", "ready"}]
    return found


def count_adapters(s: Services, model: ModelInfo) -> int:
    """Return how many adapters can only be used with this model."""
    return sum(adapter.model_path == model.path for adapter in adapters.list_adapters(s))


@needs(TRAINER)
def trash(s: Services, model: ModelInfo) -> None:
    """Move a model of ours to the trash. Raises UserError `model_not_ours`, `model_in_use`, `owned_by_another`, `server_read_only`."""
    s.require_writable()
    origin = origin_of(s, model)
    if not origin.is_ours:
        raise UserError("model_not_ours", model=model.id)
    require_own(s, origin.owner)
    if users := what_uses(s, model):
        raise UserError("model_in_use", model=model.id, users=", ".join(users[:5]))
    ModelFolders(s.data_dir).trash(model.path.name)


@needs(TRAINER)
def restore(s: Services, name: str) -> None:
    """Bring a model back from the trash. Raises UserError `model_unknown`, `target_exists`, `owned_by_another`, `server_read_only`."""
    s.require_writable()
    folders = ModelFolders(s.data_dir)
    require_own(s, str(read_manifest(folders.trashed(name)).get("owner") or ""))
    folders.restore(name)
