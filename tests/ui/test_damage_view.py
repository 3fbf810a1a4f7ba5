"""What cannot be read is named where the disk is looked after, in both languages; nothing is drawn while all can be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from tests.adapters import add_adapter
from tests.ui.conftest import add_run
from tunesmith.i18n.catalog import t
from tunesmith.services.context import Services


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_damaged_things_are_named(lang: str, services: Services, open_page: Callable[..., AppTest]) -> None:
    run, record = add_run(services, "completed"), add_adapter(services.data_dir, "kept", layers=(0,), rank=1)
    app = open_page("settings", lang, view="storage")
    assert not app.exception
    assert not [each for each in app.warning if t("damage.title", lang, n=2) in each.value]
    services.store.folder(run.id).record.write_bytes(b"{")
    (services.data_dir / "adapters" / record.id / "record.json").write_bytes(b"[]")
    app = open_page("settings", lang, view="storage")
    assert not app.exception
    assert t("damage.title", lang, n=2) in [each.value for each in app.warning]
    lines = [each.value for each in app.markdown if each.value.startswith("- **")]
    for line, words in zip(lines, [("damage.kind_run", run.id), ("damage.kind_adapter", "record.json")], strict=True):
        assert t(words[0], lang) in line
        assert words[1] in line
