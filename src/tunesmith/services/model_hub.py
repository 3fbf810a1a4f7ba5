"""Models of the hub: search, look at one, download it as a job that goes on after it was broken off. Knows no page.

What is asked goes to the one hub of the environment, in a process of its own.
"""

from __future__ import annotations

import dataclasses

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.export.config import ARRIVAL_FORMS, ArrivalRules
from tunesmith.jobs.hub_asking import ask_hub
from tunesmith.jobs.job import Job
from tunesmith.models.hub import FoundModel, HubModel
from tunesmith.models.hub_files import ModelFile
from tunesmith.services import jobs
from tunesmith.services.context import Services
from tunesmith.services.lineage import lineage_of
from tunesmith.services.models import made_models_folder
from tunesmith.services.rights import needs
from tunesmith.settings.fields import check_values
from tunesmith.system.memory import disk_free_bytes
from tunesmith.system.paths import resolve_under
from tunesmith.system.secrets import hub_environment

KIND = "download_model"
SHOWN = 25
_LARGEST_GROWTH = 4  # of a model in 4 bits that is made dense
_FROM_DENSE = {16: 1.0, 8: 0.6, 4: 0.35}  # bytes of a converted model by those in 16 bits, scales and offsets counted


@needs(TRAINER, noted=False)
def search(s: Services, text: str, mlx_only: bool = False) -> list[FoundModel]:
    """Return text models whose names hold the words, those in MLX's form first, then by downloads; the most loaded ones without words.

    Raises UserError `hub_unreachable`, `hub_busy`, `hub_token_refused`.
    """
    del s
    asked = {"text": " ".join(text.split()), "most": SHOWN, "mlx_only": mlx_only}
    return [FoundModel(**found) for found in ask_hub("search", asked, hub_environment())]


@needs(TRAINER, noted=False)
def describe(s: Services, name: str) -> HubModel:
    """Return a model `owner/name` as it is now and what would be downloaded of it. Raises UserError `hub_…`, `model_…`."""
    del s
    found = ask_hub("describe", {"name": name.strip()}, hub_environment())
    return HubModel(**found | {"files": tuple(ModelFile(**file) for file in found["files"])})


def needed_bytes(model: HubModel, rules: ArrivalRules) -> int:
    """Return what a download takes on the disk at its fullest: the files, and beside them what is made of them."""
    bits = ARRIVAL_FORMS[rules.form]
    dense = 2 * model.parameters or _LARGEST_GROWTH * model.size_bytes
    return model.size_bytes + (int(dense * _FROM_DENSE[bits]) if bits else 0)


def free_bytes(s: Services) -> int:
    """Return how much room there is where models come to."""
    return disk_free_bytes(s.data_dir)


def folder_name(name: str, rules: ArrivalRules) -> str:
    """Return what the folder of a downloaded model is called, which is its id here."""
    return name.replace("/", "--") + (f"-{rules.form}" if ARRIVAL_FORMS[rules.form] else "")


@needs(TRAINER)
def start_download(s: Services, model: HubModel, rules: ArrivalRules) -> str:
    """Start to download a model at the commit that was looked at, or go on with an earlier try; return the job's id.

    Raises UserError `setting_…`, `model_downloaded_already`, `download_running`, `disk_nearly_full`.
    """
    check_values(rules)
    target = resolve_under(made_models_folder(s), folder_name(model.name, rules))
    if target.exists():
        raise UserError("model_downloaded_already", name=model.name, model=target.name)
    for earlier in list_downloads(s):
        if earlier.request["target_path"] != str(target):
            continue
        if not earlier.ended:
            raise UserError("download_running", name=model.name)
        if earlier.status != "completed" and earlier.request["hub"]["commit"] == model.commit:
            resume(s, earlier.id)
            return earlier.id
    hub = {"name": model.name, "commit": model.commit, "address": model.address, "licence": model.licence, "form": rules.form}
    request = {
        "name": model.name, "hub": hub, "rules": dataclasses.asdict(rules), "size_bytes": model.size_bytes, "target_path": str(target),
        "lineage": lineage_of(s, model.name, target, hub=hub),
    }  # fmt: skip
    return jobs.start(s, KIND, request, needed_bytes(model, rules), hub_environment())


@needs(TRAINER)
def resume(s: Services, job_id: str) -> None:
    """Go on with a download that was cancelled, failed or broken off. Raises UserError `job_unknown`, `job_running`."""
    jobs.start_again(s, job_id, environment=hub_environment())


def list_downloads(s: Services) -> list[Job]:
    """Return the downloads that are remembered, newest first."""
    return jobs.list_jobs(s, KIND)
