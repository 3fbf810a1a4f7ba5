"""Base models that can be tuned: the shipped one and those in the person's folders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.models import discovery
from tunesmith.models.discovery import ModelInfo
from tunesmith.services.context import Services
from tunesmith.store.model_folders import ModelFolders
from tunesmith.system.paths import DEMO_MODEL

DEMO_MODEL_ID = "demo"


def list_models(s: Services) -> list[ModelInfo]:
    """Return the shipped model first, then those of the model folders; a broken one carries its problem."""
    shipped = [dataclasses.replace(discovery.inspect_model(DEMO_MODEL), id=DEMO_MODEL_ID)]
    return shipped + discovery.list_models([*s.settings.model_folders, str(made_models_folder(s))])


def made_models_folder(s: Services) -> Path:
    """Return where fused and quantised models are kept."""
    return ModelFolders(s.data_dir).root


def read_model(s: Services, path: Path) -> ModelInfo:
    """Return the model at a path, under the id that the lists have for it. Raises UserError for what is wrong with its folder."""
    known = next((model for model in list_models(s) if model.path == path), None) or discovery.inspect_model(path)
    if known.problem:
        raise known.problem
    return known


def find_model(s: Services, model_id: str) -> ModelInfo:
    """Return a usable model. Raises UserError `model_unknown`, or what is wrong with its folder."""
    if not model_id:
        raise UserError("model_missing")
    for model in list_models(s):
        if model_id in {model.id, str(model.path)}:
            if model.problem is not None:
                raise model.problem
            return model
    raise UserError("model_unknown", model=model_id)
