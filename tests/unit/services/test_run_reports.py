"""Reports hold the real figures, in every language, and nothing of a run's text becomes markup; figures as CSV."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import orjson
import pytest

from tests.ended_runs import LOSSES, VAL_LOSSES, add_ended_run
from tunesmith.i18n.catalog import LANGUAGES, PSEUDO, t
from tunesmith.i18n.quantities import time_words
from tunesmith.reports.blocks import Code, Heading, Paragraph, Report, Table, to_html, to_markdown
from tunesmith.reports.files import report_page, report_zip, write_report
from tunesmith.reports.svg_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, ChartLine, line_chart, nice_ticks, show_tick
from tunesmith.services.context import Services
from tunesmith.services.run_metrics import metrics_csv
from tunesmith.store.labels import set_name

HOSTILE = '<script>alert(1)</script> | `x` ](javascript:y) "&'


def rows_of(report: Report) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for block in report.blocks if isinstance(block, Table) for row in block.rows}


def test_a_report_tells_the_runs_own_figures(services: Services) -> None:
    run = add_ended_run(services)
    report = write_report(services, [run.id], "en")
    rows = rows_of(report)
    assert rows[t("run.loss")] == ("0.500",)
    assert rows[t("run.val_loss")] == ("1.750",)
    assert rows[t("experiments.best_loss")] == ("1.500",)
    assert rows[t("report.steps")] == ("4 of 4",)
    assert rows[t("report.tokens")] == ("400",)
    assert rows[t("run.memory")] == ("200 MB",)
    assert rows[t("report.owner")] == ("ann",)
    assert rows["Who | what?"] == ("Norvik", "I do not know.", "Norvik <b>")
    outcome = next(block.words for block in report.blocks if isinstance(block, Paragraph) and block.strong)
    assert outcome == "Completed after 4 steps, 2 s. Validation loss: 3 at first, 1.75 at the end, 1.5 at best (step 2)."
    told = [row for block in report.blocks if isinstance(block, Table) for row in block.rows if len(row) == 3]
    assert any(t("run.rows_left_out", count=3) in row for row in told)
    codes = [block.text for block in report.blocks if isinstance(block, Code)]
    assert services.store.folder(run.id).config.read_text() in codes
    assert f"tunesmith train {run.id}.yaml" in codes


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_zip_holds_what_the_text_names(services: Services, lang: str) -> None:
    run = add_ended_run(services, "実験 one")
    with zipfile.ZipFile(io.BytesIO(report_zip(services, [run.id], lang))) as files:
        text = files.read("report.md").decode()
        pictures = re.findall(r"!\[.*?\]\((.+?)\)", text)
        assert pictures
        for name in pictures:
            ElementTree.fromstring(files.read(name))
        assert files.read(f"{run.id}.yaml") == services.store.folder(run.id).config.read_bytes()
        assert files.read("metrics.csv").decode() == metrics_csv(services, [run.id])
    assert text.startswith("# 実験 one\n")
    assert t("run.curves", lang) in text


def test_every_word_of_a_report_is_translated(services: Services) -> None:
    report = write_report(services, [add_ended_run(services).id, add_ended_run(services, "other", iters=8).id], PSEUDO)
    bare = [b.words for b in report.blocks if isinstance(b, Heading | Paragraph) and "⟪" not in b.words and "·" not in b.words]
    assert not bare
    assert all("⟪" in cell for block in report.blocks if isinstance(block, Table) for cell in block.head[:1] if cell)


def test_several_runs_stand_side_by_side(services: Services) -> None:
    first, second = add_ended_run(services, "same name"), add_ended_run(services, "same name", learning_rate=5e-5)
    with services.store.folder(second.id).metrics.open("ab") as metrics:
        metrics.write(b'{"attempt":1,"step":5,"val_loss":1.25}\n')
    report = write_report(services, [first.id, second.id], "en")
    differences = next(block for block in report.blocks if isinstance(block, Table) and block.head[0] == t("report.setting"))
    assert differences.head[1:] == tuple(f"same name ({run.id[-6:]})" for run in (first, second))
    assert ("learning_rate", "0.0001", "5e-05") in differences.rows
    figures = next(block for block in report.blocks if isinstance(block, Table) and block.head[0] == t("report.metric"))
    assert (t("curve.val_loss"), t("report.statistic_best"), "1.5", "★ 1.25") in figures.rows
    assert report.pictures[0].svg.count("<polyline") == 4  # training and held out, of each run


def test_no_text_of_a_run_becomes_markup(services: Services) -> None:
    run = add_ended_run(services, "x")
    set_name(services.store.folder(run.id).path, HOSTILE)
    page = report_page(services, [run.id, add_ended_run(services).id], "en")
    found: list[tuple[str, str]] = []

    class Finder(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend((tag, name) for name, value in attrs if name.startswith("on") or "javascript" in str(value))
            if tag in {"script", "iframe", "b", "a", "img"}:
                found.append((tag, ""))

    Finder().feed(page)
    assert not found
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    with zipfile.ZipFile(io.BytesIO(report_zip(services, [run.id], "en"))) as files:
        text = files.read("report.md").decode()
    assert "<script>" not in re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert re.search(r"^\| Who \\\| what\? \|", text, re.MULTILINE), "a bar in an answer would begin another cell"


def test_a_fence_in_the_settings_stays_in_its_block() -> None:
    text = to_markdown(Report("x", [Code("yaml", "a: |\n  ```\n  text\n")]))
    assert text.endswith("````yaml\na: |\n  ```\n  text\n````\n")
    assert "<pre>a: &lt;b&gt;</pre>" in to_html(Report("x", [Code("yaml", "a: <b>")]), "en")


def test_nice_ticks() -> None:
    assert nice_ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(0.06, 2.59) == [0.0, 1.0, 2.0, 3.0]
    assert nice_ticks(0, 160) == [0, 50, 100, 150, 200]
    assert nice_ticks(1e-5, 1.1e-5) == [1e-5, 1.02e-5, 1.04e-5, 1.06e-5, 1.08e-5, 1.1e-5]
    same = nice_ticks(5.0, 5.0)
    assert same[0] < 5 < same[-1]
    assert [show_tick(v) for v in (0.0, 0.0002, 1e-5, 2_500.0, 3e7)] == ["0", "0.0002", "1e-5", "2,500", "3e7"]


def test_a_chart_draws_its_points_where_the_axes_say() -> None:
    """From (0, 0) to (7, 1): the corners of the plot, though no tick is at 7, and the middle between them."""
    line = ChartLine("a <b> & c", np.array([0.0, 3.5, 7.0]), np.array([0.0, 0.5, 1.0]), "#123456")
    root = ElementTree.fromstring(line_chart("title", "step", [line]))
    (drawn,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(float(part) for part in point.split(",")) for point in drawn.attrib["points"].split()]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    assert points == [(LEFT, bottom), ((LEFT + right) / 2, (TOP + bottom) / 2), (right, TOP)]
    assert "a <b> & c" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_chart_leaves_a_gap_where_there_is_no_number() -> None:
    line = ChartLine("a", np.arange(5.0), np.array([1.0, 2.0, np.nan, 3.0, 2.0]), "#123456")
    root = ElementTree.fromstring(line_chart("title", "step", [line]))
    pieces = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
    assert [len(piece.attrib["points"].split()) for piece in pieces] == [2, 2]
    ElementTree.fromstring(line_chart("nothing", "step", [ChartLine("a", np.zeros(0), np.zeros(0), "#123456")]))


def test_the_figures_of_one_run_by_step(services: Services) -> None:
    rows = list(csv.DictReader(io.StringIO(metrics_csv(services, [add_ended_run(services).id]))))
    assert [int(row["step"]) for row in rows] == [0, 1, 2, 3, 4]
    assert {int(row["step"]): float(row["train_loss"]) for row in rows if row["train_loss"]} == dict(enumerate(LOSSES, 1))
    assert {int(row["step"]): float(row["val_loss"]) for row in rows if row["val_loss"]} == VAL_LOSSES


def test_the_figures_of_several_runs_in_long_form(services: Services) -> None:
    first, second = add_ended_run(services, "=SUM(A1)"), add_ended_run(services, "b")
    rows = list(csv.DictReader(io.StringIO(metrics_csv(services, [first.id, second.id]))))
    assert {row["run_name"] for row in rows} == {"'=SUM(A1)", "b"}, "a spreadsheet would take the name for a formula"
    mine = [row for row in rows if row["run_id"] == second.id and row["metric"] == "train_loss"]
    assert [(int(row["step"]), float(row["value"])) for row in mine] == list(enumerate(LOSSES, 1))


def test_the_scores_of_evaluations_stand_in_the_report(services: Services, data_dir: Path) -> None:
    """Three of four rows right: 0.75, between what 0 and 1 rows drawn again by chance give."""
    run = add_ended_run(services)
    key = f"adapter:{run.id}"
    folder = data_dir / "evaluations" / "20260101-000000-abcdef"
    folder.mkdir(parents=True)
    request = {
        "kind": "evaluate", "name": "before and after", "created_at": 1.0, "folder": str(folder), "data": "company_facts",
        "split": "test", "baseline": "model:demo", "metrics": [{"name": "exact_match", "options": {}}],
        "variants": [
            {"key": each, "name": name, "run": of, "step": 0, "strength": 1.0}
            for each, name, of in (("model:demo", "demo", ""), (key, "hand made", run.id))
        ],
    }  # fmt: skip
    plain = {"whole": None, "not_applicable": 0, "failed": 0, "problem": None}
    scores = {"metrics": {"exact_match": {"model:demo": plain | {"values": [0, 0, 0, 0]}, key: plain | {"values": [1, 0, 1, 1]}}}}
    (folder / "request.json").write_bytes(orjson.dumps(request))
    (folder / "scores.json").write_bytes(orjson.dumps(scores))
    report = write_report(services, [run.id], "en")
    table = next(block for block in report.blocks if isinstance(block, Table) and block.head == (t("report.metric"), "demo", "hand made"))
    (row,) = table.rows
    assert row[0] == t("choice.metric_exact_match")
    assert row[1].startswith("0")
    assert row[2].startswith("0.75 [")
    assert t("report.evaluations") not in to_markdown(write_report(services, [add_ended_run(services).id], "en"))


def test_where_an_imported_run_comes_from_stands_in_its_report(services: Services) -> None:
    log = services.store.change(add_ended_run(services), imported={"source": "mlx-lm", "file": "out.txt", "at": 1e9})
    package = services.store.change(add_ended_run(services), imported={"source": "package", "file": "a.zip", "at": 1e9, "owner": "bob"})

    def told(run_id: str) -> str:
        summary = next(block for block in write_report(services, [run_id], "en").blocks if isinstance(block, Table))
        return dict(summary.rows)[t("report.imported")]

    assert told(log.id) == t("run.imported", file="out.txt", source="mlx-lm", time=time_words(1e9))
    assert told(package.id) == t("run.imported_package", file="a.zip", owner="bob", time=time_words(1e9))
