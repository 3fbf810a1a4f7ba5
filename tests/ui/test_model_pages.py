"""The pages of adapters, fusion and export on a store that has some."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from tests.adapters import add_adapter
from tests.ui.test_pages import assert_healthy
from tunesmith.fusion.methods import METHODS
from tunesmith.i18n.catalog import t
from tunesmith.services import exports
from tunesmith.services.context import Services

OpenPage = Callable[..., AppTest]


@pytest.fixture
def pair(services: Services) -> list[str]:
    return [add_adapter(services.data_dir, f"adapter {n}", seed=n).id for n in (1, 2)]


def put_made(services: Services, name: str, manifest: bytes) -> None:
    folder = exports.exports_folder(services) / name
    folder.mkdir(parents=True)
    (folder / f"{name}.gguf").write_bytes(b"GGUF")
    (folder / "tunesmith.json").write_bytes(manifest)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_fusion_has_its_switches(open_page: OpenPage, pair: list[str], method: str) -> None:
    app = open_page("fusion")
    app.multiselect(key="fusion_adapters").set_value(pair).run()
    app.selectbox(key="fusion_method").set_value(method).run()
    assert_healthy(app)
    assert not app.error
    labels = {box.label for box in app.number_input}
    assert ("Density" in labels) == (not METHODS[method].exact)
    assert next(b for b in app.button if b.label == t("fusion.fuse")).disabled is False


def test_an_adapter_of_another_base_is_not_offered(open_page: OpenPage, services: Services) -> None:
    own = [add_adapter(services.data_dir, f"own {n}", base_model_hash="a base").id for n in (1, 2)]
    add_adapter(services.data_dir, "foreign", base_model_hash="another")
    app = open_page("fusion")
    box = app.multiselect(key="fusion_adapters")
    assert len(box.options) == 3
    box.set_value([own[0]]).run()
    offered = app.multiselect(key="fusion_adapters").options
    assert len(offered) == 2
    assert not any("foreign" in title for title in offered)


def test_two_adapters_of_one_name_have_weights_of_their_own(open_page: OpenPage, services: Services) -> None:
    same = [add_adapter(services.data_dir, "style", seed=n).id for n in (1, 2)]
    app = open_page("fusion")
    app.multiselect(key="fusion_adapters").set_value(same).run()
    app.segmented_control(key="fusion_layered").set_value("curves").run()
    assert_healthy(app)
    assert not app.error
    assert len({slider.label for slider in app.slider}) == 2


@pytest.mark.parametrize("kind", ["gguf", "fused", "quantized", "peft", "gguf_lora"])
def test_every_form_of_export_is_drawn(open_page: OpenPage, pair: list[str], kind: str) -> None:
    app = open_page("export", source=f"adapter:{pair[0]}")
    app.segmented_control(key="format-True").set_value(kind).run()
    assert_healthy(app)
    assert t(f"export.about_{kind}") in [c.value for c in app.caption]


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_what_was_made_tells_its_proof(open_page: OpenPage, services: Services, lang: str) -> None:
    put_made(
        services,
        "good",
        b'{"format": "gguf", "proof": {"verified": true, "engine": "llama.cpp 1", "tokens_equal": 1.0, "greedy_equal": 1.0}}',
    )
    put_made(
        services,
        "unknown",
        b'{"format": "gguf", "proof": {"verified": false, "unchecked": ["engine_missing"], "checks": {"stored": false}}}',
    )
    put_made(services, "torn", b"{")
    app = open_page("export", lang, view="made")
    assert_healthy(app)
    words = [expander.label for expander in app.expander]
    assert [t("export.verified", lang) in word for word in sorted(words)] == [True, False, False][: len(words)]
    assert any(t("proof.check_stored", lang) in e.value for e in app.error)
    assert any(t("proof.engine_missing", lang) in c.value for c in app.caption)


@pytest.mark.parametrize("view", ["serve", "ollama"])
def test_the_other_views_are_drawn(open_page: OpenPage, pair: list[str], view: str) -> None:
    app = open_page("export", view=view)
    assert_healthy(app)
    assert [e.value for e in app.error] == [] if view == "serve" else any("Ollama" in e.value for e in app.error)
    assert pair
