"""Jobs on a page: what is said of an ended one's end."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tunesmith.i18n.catalog import t
from tunesmith.jobs.job import END, JobFolders
from tunesmith.services import jobs
from tunesmith.services.context import Services
from tunesmith.store.files import write_json


def _draw() -> None:
    from tunesmith.ui.job_view import draw_jobs

    draw_jobs(("pack_runs", "export_gguf"), print)


@pytest.mark.parametrize(("kind", "lies_inside", "key"), [("pack_runs", True, "forget_made_help"), ("export_gguf", False, "forget_help")])
def test_what_goes_with_the_line_is_said(services: Services, tmp_path: Path, kind: str, lies_inside: bool, key: str) -> None:
    folders = JobFolders(services.data_dir / jobs.JOBS)
    folder = folders.folder(folders.create({"kind": kind, "name": "two runs"}))
    made = (folder if lies_inside else tmp_path) / "made.zip"
    made.write_bytes(b"PK")
    write_json(folder / END, {"status": "completed", "result": {"path": str(made)}})
    app = AppTest.from_function(_draw, default_timeout=60).run()
    (clear,) = [button for button in app.button if button.label == t("job.forget")]
    assert clear.help == t(f"job.{key}")
    clear.click().run()
    assert not app.exception
    assert not folder.exists()
    assert made.exists() != lies_inside
