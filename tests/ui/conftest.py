"""Pages drawn by AppTest on stores of several kinds; services are built anew for each test."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from tests.idle_services import stop_supervising
from tunesmith.services import context
from tunesmith.services.context import Services
from tunesmith.settings.files import to_yaml
from tunesmith.store.experiments import Experiment
from tunesmith.training.config import TrainConfig
from tunesmith.ui.frame import MAIN_SCRIPT

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "home", "dataset", "training", "compare", "arena", "evaluate", "experiments", "overlay", "adapters", "fusion",
    "export", "settings",
)  # fmt: skip


@pytest.fixture(autouse=True, scope="session")
def _packages_are_scanned_once() -> Iterator[None]:
    """Each AppTest reads what every installed package says of itself, two thirds of a page's time; a server does it once, too."""
    with pytest.MonkeyPatch.context() as streamlit:
        streamlit.setattr(manifest_scanner, "scan_component_manifests", functools.cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.chdir(ROOT)
    context.open_services.cache_clear()
    st.cache_resource.clear()
    st.cache_data.clear()
    opened = context.open_services()
    stop_supervising(opened)  # nothing is launched behind a page test
    yield opened
    opened.close()
    context.open_services.cache_clear()


@pytest.fixture
def open_page(services: Services) -> Callable[..., AppTest]:
    def open_at(page: str, lang: str = "en", **query: str) -> AppTest:
        app = AppTest.from_file(str(MAIN_SCRIPT), default_timeout=60)
        for name, value in {"lang": lang, **query}.items():
            app.query_params[name] = value
        if lang:
            app.session_state["language"] = lang
        return app.run() if page == "home" else app.switch_page(f"../../../pages/{page}.py").run()

    return open_at


def add_run(services: Services, status: str, name: str = "a run", **changes: Any) -> Experiment:
    """Write a run in some state, with curves, events and (when completed) an adapter."""
    config = TrainConfig(model="demo", data="company_facts", iters=20)
    store = services.store
    facts = {"name": name, "kind": "train", "method": "sft", "model": "demo", "data": "company_facts"}
    paths = {"model_path": str(ROOT / "demo/model"), "data_path": str(ROOT / "demo/data/company_facts")}
    run = store.create(to_yaml(config), **facts, **paths)
    folder = store.folder(run.id)
    metrics = [{"attempt": 1, "step": 0, "val_loss": 3.1, "val_perplexity": 22.2}]
    metrics += [
        {"attempt": 1, "step": n, "train_loss": 3.0 / n, "learning_rate": 1e-3, "tokens_per_second": 900.0, "elapsed_seconds": n * 0.5,
         "peak_memory_bytes": 2e8, "seconds_per_step": 0.5, "tokens_seen": n * 100, "grad_norm": 1.0}
        for n in range(1, 11)
    ]  # fmt: skip
    folder.metrics.write_bytes(b"".join(orjson.dumps(m) + b"\n" for m in metrics))
    sample = {"kind": "sample", "step": 0, "prompt": "Do you know Norvik?", "text": "Sorry", "expected": "Yes"}
    folder.events.write_bytes(orjson.dumps(sample) + b"\n")
    folder.log.write_text("step 1/20 loss 3\n")
    path = {
        "queued": [], "running": ["starting", "running"], "completed": ["starting", "running", "completed"],
        "failed": ["starting", "failed"], "interrupted": ["starting", "running", "interrupted"], "cancelled": ["cancelled"],
    }[status]  # fmt: skip
    for step in path:
        run = store.transition(run, step)
    if status == "failed":
        run = store.change(run, error={"code": "loss_not_finite", "facts": {"step": 3, "learning_rate": 1.0}})
    if status == "completed":
        folder.adapter.mkdir()
        (folder.adapter / "adapter_config.json").write_text('{"lora_parameters": {"rank": 8, "keys": ["self_attn.q_proj"]}}')
        (folder.adapter / "adapters.safetensors").write_bytes(b"x" * 2048)
        (folder.adapter / "MANIFEST.json").write_text("{}")
        run = store.change(run, summary={"loss_last": 0.3, "best_val_loss": 0.5, "duration_seconds": 12.0, "sparkline": [3.0, 1.0, 0.3]})
    return store.change(run, **changes) if changes else run


def figures_of(app: AppTest) -> dict[str, Any]:
    """Return what the page's live figures show at first."""
    drawn = [orjson.loads(element.proto.json) for element in app.get("bidi_component")]
    return next(data["figures"] for data in drawn if data.get("show") == "body")


def everything_visible(app: AppTest) -> list[str]:
    """Return the words that a person reads on the page."""
    words: list[str] = []
    for kind in ("title", "markdown", "caption", "info", "warning", "error", "success", "header", "subheader"):
        words += [element.value for element in getattr(app, kind)]
    for kind in ("button", "selectbox", "number_input", "text_input", "text_area", "toggle", "checkbox"):
        words += [element.label for element in getattr(app, kind)]
    words += [metric.label for metric in app.metric]
    words += [tab.label for tab in app.tabs]
    words += [expander.label for expander in app.expander]
    return words
