"""Runs as packages: there and back byte for byte; of hostile packages nothing stays, inside the store or outside."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.ended_runs import add_ended_run
from tunesmith.data import run_packages as archive
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import LANGUAGES, error_words
from tunesmith.services import compare, evaluations, experiments, run_packages, runs, variants
from tunesmith.services.context import Services
from tunesmith.services.run_facts import files_of
from tunesmith.store.labels import change_labels

REWRITTEN = {"experiment.json", "labels.json"}


def contents(services: Services, run_id: str) -> dict[str, bytes]:
    return {file.name: file.path.read_bytes() for file in files_of(services, run_id)}


def packed(services: Services, *run_ids: str, **more: Any) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(run_packages.pack_small(services, run_ids, **more))) as package:
        return {name: package.read(name) for name in package.namelist()}


def everything_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_run_comes_back_byte_for_byte(services: Services, tmp_path: Path) -> None:
    run = add_ended_run(services, "there and back")
    folder = services.store.folder(run.id)
    change_labels(folder.path, name="renamed", tags=["kept"], priority=3)
    folder.rollouts.write_bytes(b'{"v":1,"step":1,"groups":[]}\n')
    state = folder.checkpoint(4)
    state.mkdir(parents=True)
    (state / "state.json").write_text("{}")
    (state / "MANIFEST.json").write_text("{}")
    path = tmp_path / "package.zip"
    run_packages.pack_into(services, [run.id], path, checkpoints=True)
    (back,) = run_packages.import_package(services, path)
    assert back.id != run.id
    assert (back.name, back.former_id, back.notes) == ("renamed", run.id, ())
    before, after = contents(services, run.id), contents(services, back.id)
    assert set(before) == set(after) > {"checkpoints/step-4/state.json", "adapter/adapters.safetensors", "rollouts.jsonl"}
    assert all(before[name] == after[name] for name in set(before) - REWRITTEN)
    record, was = services.store.get(back.id), services.store.get(run.id)
    for name in ("status", "method", "model", "data", "model_path", "data_path", "config_sha256", "created_at", "summary", "history"):
        assert getattr(record, name) == getattr(was, name), name
    assert (record.imported["run"], record.imported["owner"], record.imported["source"]) == (run.id, "ann", "package")
    assert orjson.loads(after["labels.json"]) == {"name": "renamed", "tags": ["kept"]}
    assert runs.snapshot(services, back.id).adapter


def test_checkpoints_stay_unless_asked_for(services: Services) -> None:
    run = add_ended_run(services)
    state = services.store.folder(run.id).checkpoint(4)
    state.mkdir(parents=True)
    for name in ("state.json", "MANIFEST.json"):
        (state / name).write_text("{}")
    assert not [name for name in packed(services, run.id) if "checkpoints" in name]
    assert len([name for name in packed(services, run.id, checkpoints=True) if "checkpoints" in name]) == 2
    assert run_packages.size_of(services, [run.id]) + 4 == run_packages.size_of(services, [run.id], checkpoints=True)


def test_the_same_runs_make_the_same_files(services: Services) -> None:
    run = add_ended_run(services)
    first, second = (packed(services, run.id) for _ in range(2))
    assert {name: data for name, data in first.items() if name != "MANIFEST.json"} == {
        name: data for name, data in second.items() if name != "MANIFEST.json"
    }
    listed = orjson.loads(first["MANIFEST.json"])["runs"][0]["files"]
    for name, facts in listed.items():
        data = first[f"runs/{run.id}/{name}"]
        assert facts == {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_a_log_of_one_line_a_million_times_is_believed(services: Services, tmp_path: Path) -> None:
    """What packs like a bomb is stored plain, so that our own packages are never refused."""
    run = add_ended_run(services)
    services.store.folder(run.id).log.write_bytes(b"the same line\n" * 200_000)
    path = tmp_path / "package.zip"
    run_packages.pack_into(services, [run.id], path)
    (back,) = run_packages.import_package(services, path)
    assert services.store.folder(back.id).log.stat().st_size == 14 * 200_000


def test_a_run_that_goes_on_finds_its_parent_under_the_new_id(services: Services, tmp_path: Path) -> None:
    parent = add_ended_run(services, "parent")
    child = services.store.change(add_ended_run(services, "child"), continued_from=parent.id)
    path = tmp_path / "both.zip"
    run_packages.pack_into(services, [child.id, parent.id], path)
    found = {run.name: run.id for run in run_packages.import_package(services, path)}
    assert services.store.get(found["child"]).continued_from == found["parent"]
    run_packages.pack_into(services, [child.id], alone := tmp_path / "alone.zip")
    (orphan,) = run_packages.import_package(services, alone)
    record = services.store.get(orphan.id)
    assert (record.continued_from, record.imported["continued_from"]) == ("", parent.id)


def test_what_is_not_here_is_told(services: Services, tmp_path: Path) -> None:
    run = services.store.change(add_ended_run(services), model="far-away", model_path="/nowhere/far-away", data="gone@3")
    folder = services.store.folder(run.id)
    folder.rewards.mkdir()
    (folder.rewards / "mine.py").write_text("def score(completion, row):\n    return 1.0\n")
    path = tmp_path / "package.zip"
    run_packages.pack_into(services, [run.id], path)
    (back,) = run_packages.import_package(services, path)
    assert [note.code for note in back.notes] == ["import_model_missing", "import_data_missing", "import_rewards_kept"]
    after = contents(services, back.id)
    assert after["rewards-imported/mine.py"] == (folder.rewards / "mine.py").read_bytes()
    assert not services.store.folder(back.id).rewards.exists(), "a stranger's code would be run by whoever goes on from the run"
    assert services.store.get(back.id).model_path == ""
    assert orjson.loads(after["adapter/adapter_config.json"]) == orjson.loads((folder.adapter / "adapter_config.json").read_bytes())


def test_a_packages_paths_are_none_of_this_computers(services: Services, tmp_path: Path) -> None:
    (private := tmp_path / "private").mkdir()
    for split in ("train", "test"):
        (private / f"{split}.jsonl").write_text('{"prompt": "What does Kato earn?", "completion": "9,000,000 yen"}\n')
    run = services.store.change(add_ended_run(services, status="paused"), data="gone@1", data_path=str(private))
    state = services.store.folder(run.id).checkpoint(4)
    state.mkdir(parents=True)
    (state / "MANIFEST.json").write_text("{}")
    run_packages.pack_into(services, [run.id], path := tmp_path / "package.zip", checkpoints=True)
    (back,) = run_packages.import_package(services, path)
    assert services.store.get(back.id).data_path == ""
    adapter = variants.find_variant(services, back.id)
    assert compare.suggested_prompts(services, [adapter]) == []
    assert evaluations.training_data(services, [adapter]) == []
    with pytest.raises(UserError, match="dataset_unknown"):
        runs.resume(services, back.id)
    assert not services.store.folder(back.id).has_request("resume")


def test_a_run_that_goes_on_is_not_packed(services: Services, tmp_path: Path) -> None:
    run = services.store.create("model: demo\n", name="x", kind="train", method="sft", model="demo", data="d", model_path="", data_path="")
    with pytest.raises(UserError, match="package_run_active"):
        run_packages.pack_into(services, [run.id], tmp_path / "package.zip")
    assert not list(tmp_path.glob("*.zip")) + list(tmp_path.glob(".*.part"))


def test_a_file_that_is_there_is_not_replaced(services: Services, tmp_path: Path) -> None:
    path = tmp_path / "package.zip"
    path.write_text("mine")
    with pytest.raises(UserError, match="target_exists"):
        run_packages.pack_into(services, [add_ended_run(services).id], path)
    assert path.read_text() == "mine"


Files = dict[str, bytes]
Change = Callable[[Files, str], Files | None]


def zip_of(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as package:
        for name, data in files.items():
            package.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def relisted(files: Files, run: str, **changed: bytes | None) -> Files:
    """Return the package with files changed, added or (None) taken away, and a manifest that fits."""
    manifest = orjson.loads(files["MANIFEST.json"])
    listed = manifest["runs"][0]["files"]
    out = dict(files)
    for name, data in changed.items():
        if data is None:
            listed.pop(name)
            out.pop(f"runs/{run}/{name}")
        else:
            listed[name] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            out[f"runs/{run}/{name}"] = data
    return out | {"MANIFEST.json": orjson.dumps(manifest)}


def with_manifest(files: Files, **changed: Any) -> Files:
    return files | {"MANIFEST.json": orjson.dumps(orjson.loads(files["MANIFEST.json"]) | changed)}


def with_id(files: Files, run: str, other: str) -> Files:
    manifest = files["MANIFEST.json"].replace(run.encode(), other.encode())
    return {name.replace(run, other): data for name, data in files.items()} | {"MANIFEST.json": manifest}


def listed_run(files: Files) -> dict[str, Any]:
    run: dict[str, Any] = orjson.loads(files["MANIFEST.json"])["runs"][0]
    return run


def with_record(files: Files, run: str, **changed: Any) -> Files:
    record = orjson.loads(files[f"runs/{run}/experiment.json"]) | changed
    return relisted(files, run, **{"experiment.json": orjson.dumps(record)})


def with_file(files: Files, run: str, name: str, data: bytes) -> Files:
    return relisted(files, run, **{name: data})


HOSTILE: dict[str, tuple[str, Change]] = {
    "a path that leads up": ("archive_path_not_allowed", lambda f, _: f | {"runs/../../../canary": b"x"}),
    "a path that leads up, listed": ("archive_path_not_allowed", lambda f, r: with_file(f, r, "../../canary", b"x")),
    "an absolute path": ("archive_path_not_allowed", lambda f, _: f | {"/tmp/canary": b"x"}),
    "a backslash path": ("archive_path_not_allowed", lambda f, _: f | {"runs\\..\\canary": b"x"}),
    "a drive": ("archive_path_not_allowed", lambda f, _: f | {"C:/canary": b"x"}),
    "a file that is no run's": ("package_entry_not_allowed", lambda f, r: with_file(f, r, "requests/resume.json", b"{}")),
    "code outside of rewards": ("package_entry_not_allowed", lambda f, r: with_file(f, r, "adapter/evil.py", b"x")),
    "a pickle": ("package_entry_not_allowed", lambda f, r: with_file(f, r, "adapter/adapters.bin", b"x")),
    "a hidden file": ("package_entry_not_allowed", lambda f, r: with_file(f, r, ".canary", b"x")),
    "a file that the manifest does not list": ("package_entry_not_allowed", lambda f, r: f | {f"runs/{r}/rollouts.jsonl": b"{}\n"}),
    "a file that only the manifest has": ("package_broken", lambda f, _: {n: d for n, d in f.items() if not n.endswith("metrics.jsonl")}),
    "another content": ("package_broken", lambda f, r: f | {f"runs/{r}/log.txt": f[f"runs/{r}/log.txt"].swapcase()}),
    "another size": ("package_broken", lambda f, r: f | {f"runs/{r}/log.txt": b"longer than it was"}),
    "no manifest": ("package_not_one", lambda f, _: {n: d for n, d in f.items() if n != "MANIFEST.json"}),
    "a broken manifest": ("package_broken", lambda f, _: f | {"MANIFEST.json": b'{"format": "tunesmith-runs", '}),
    "a deep manifest": ("package_broken", lambda f, _: f | {"MANIFEST.json": b'{"runs":' + b"[" * 200_000}),
    "a manifest that is a list": ("package_broken", lambda f, _: f | {"MANIFEST.json": b"[]"}),
    "another format": ("package_not_one", lambda f, _: with_manifest(f, format="other")),
    "a future version": ("package_too_new", lambda f, _: with_manifest(f, v=99)),
    "a version that is text": ("package_too_new", lambda f, _: with_manifest(f, v="1")),
    "no runs": ("package_broken", lambda f, _: with_manifest(f, runs=[])),
    "the same run twice": ("package_broken", lambda f, _: with_manifest(f, runs=[listed_run(f)] * 2)),
    "an id that leads up": ("package_broken", lambda f, _: with_manifest(f, runs=[listed_run(f) | {"id": "../../canary"}])),
    "an odd id": ("package_broken", lambda f, r: with_id(f, r, "odd id")),
    "a run without files": ("package_broken", lambda f, r: with_manifest(f, runs=[{"id": r, "files": {}}])),
    "no settings": ("package_broken", lambda f, r: relisted(f, r, **{"config.yaml": None})),
    "settings that are none": ("package_broken", lambda f, r: with_file(f, r, "config.yaml", b"learning_rate: [\n")),
    "settings out of bounds": ("package_broken", lambda f, r: with_file(f, r, "config.yaml", b"model: demo\niters: 99999999999\n")),
    "settings of aliases": ("package_broken", lambda f, r: with_file(f, r, "config.yaml", b"name: &a demo\nmodel: *a\n")),
    "deep settings": ("package_broken", lambda f, r: with_file(f, r, "config.yaml", b"sample_prompts: " + b"[" * 50_000)),
    "settings with lists for texts": ("package_broken", lambda f, r: with_file(f, r, "config.yaml", b"sample_prompts: [[1]]\n")),
    "settings that are no text": ("package_broken", lambda f, r: with_file(f, r, "config.yaml", b"\xff\xfe\x00")),
    "a record that is none": ("package_broken", lambda f, r: with_file(f, r, "experiment.json", b"[1]")),
    "a record of wrong types": ("package_broken", lambda f, r: with_record(f, r, name=["x"])),
    "a record of the far future": ("package_broken", lambda f, r: with_record(f, r, created_at=1e300)),
    "a record of a newer store": ("store_too_new", lambda f, r: with_record(f, r, schema_version=999)),
    "a run that runs": ("package_broken", lambda f, r: with_record(f, r, status="running")),
    "a state that is none": ("package_broken", lambda f, r: with_record(f, r, status="<script>")),
    "another method than the settings'": ("package_broken", lambda f, r: with_record(f, r, method="grpo")),
    "weights with a hostile header": ("model_weights_broken", lambda f, r: with_file(f, r, "adapter/adapters.safetensors", b"\xff" * 64)),
    "a record of 5 MB": ("package_broken", lambda f, r: with_file(f, r, "outcome.json", b"1" * 5_000_000)),
    "a bomb": ("archive_ratio_not_plausible", lambda f, r: with_file(f, r, "log.txt", b"0" * 60_000_000)),
    "names that differ in case alone": ("package_broken", lambda f, r: f | {f"runs/{r}/LOG.txt": b"x"}),
}  # fmt: skip


@pytest.mark.parametrize(("code", "change"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_package_leaves_nothing(services: Services, tmp_path: Path, code: str, change: Change) -> None:
    run = add_ended_run(services)
    files = change(packed(services, run.id), run.id)
    assert files is not None
    path = tmp_path / "hostile.zip"
    path.write_bytes(zip_of(files))
    before = everything_below(tmp_path)
    with pytest.raises(UserError) as caught:
        run_packages.import_package(services, path)
    assert caught.value.code == code
    assert everything_below(tmp_path) == before
    assert not Path("/tmp/canary").exists()
    for lang in LANGUAGES:
        assert error_words(caught.value.code, caught.value.facts, lang) != error_words("nothing", {}, lang)


def special_entry(kind: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        entry = zipfile.ZipInfo("runs/a/log.txt")
        entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
        package.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


def encrypted_entry(services: Services) -> bytes:
    data = bytearray(zip_of({"MANIFEST.json": b"{}"}, zipfile.ZIP_STORED))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda _: special_entry(stat.S_IFLNK), "archive_path_not_allowed"),
        (lambda _: special_entry(stat.S_IFCHR), "archive_path_not_allowed"),
        (encrypted_entry, "archive_encrypted"),
        (lambda _: zip_of({"MANIFEST.json": b"{}"}, zipfile.ZIP_LZMA), "archive_method_unknown"),
        (lambda _: b"not a zip file", "package_not_one"),
        (lambda _: b"", "package_not_one"),
        (lambda _: zip_of({f"runs/a/{n}": b"" for n in range(archive.MOST_FILES + 1)}), "archive_too_many_files"),
        (lambda s: run_packages.pack_small(s, [add_ended_run(s).id])[:-400], "package_not_one"),
    ],
)
def test_what_is_no_plain_package_is_refused(services: Services, tmp_path: Path, make: Callable[[Services], bytes], code: str) -> None:
    path = tmp_path / "hostile.zip"
    path.write_bytes(make(services))
    before = everything_below(tmp_path)
    with pytest.raises(UserError) as caught:
        run_packages.import_package(services, path)
    assert caught.value.code == code
    assert everything_below(tmp_path) == before


def test_one_bad_run_keeps_the_good_ones_out(services: Services, tmp_path: Path) -> None:
    good, bad = add_ended_run(services, "good"), add_ended_run(services, "bad")
    files = packed(services, good.id, bad.id)
    broken = files | {f"runs/{bad.id}/log.txt": files[f"runs/{bad.id}/log.txt"].swapcase()}
    path = tmp_path / "both.zip"
    path.write_bytes(zip_of(broken))
    with pytest.raises(UserError, match="package_broken"):
        run_packages.import_package(services, path)
    assert len(services.store.all()[0]) == 2


def test_a_disk_that_fills_while_runs_are_taken_over_leaves_none(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "both.zip"
    run_packages.pack_into(services, [add_ended_run(services, "a").id, add_ended_run(services, "b").id], path)
    adopt, taken = services.store.adopt, []

    def fill_up(*args: Any) -> Any:
        if taken:
            raise UserError("disk_full", folder="")
        taken.append(adopt(*args))
        return taken[0]

    monkeypatch.setattr(services.store, "adopt", fill_up)
    with pytest.raises(UserError, match="disk_full"):
        run_packages.import_package(services, path)
    assert taken
    assert len(services.store.all()[0]) == 2


def test_a_record_that_can_be_read_cannot_break_a_page(services: Services, tmp_path: Path) -> None:
    """Words of errors, summaries and labels of a stranger are cut down to what pages can show."""
    run = add_ended_run(services)
    error = {"code": "loss_not_finite", "facts": {"lang": "ja", "code": "x", "step": "y", "bad key": 1, "list": []}}
    files = with_record(packed(services, run.id), run.id, error=error, summary={"loss_last": "text"}, owner="a\x00b" * 500)
    labels = {"name": "x" * 5, "tags": [1, "ok", None], "notes": "n" * 50_000, "priority": 10**9, "deep": {"a": 1}}
    files = with_file(files, run.id, "labels.json", orjson.dumps(labels))
    path = tmp_path / "odd.zip"
    path.write_bytes(zip_of(files))
    (back,) = run_packages.import_package(services, path)
    row = next(row for row in experiments.table(services) if row.id == back.id)
    assert row.final_loss == 0.5
    assert row.error is not None
    assert row.error.facts == {"step": "y"}
    assert error_words(row.error.code, row.error.facts, "en")
    kept = orjson.loads(services.store.folder(back.id).labels.read_bytes())
    assert kept == {"name": "xxxxx", "tags": ["ok"], "notes": "n" * 20_000}
    assert "\x00" not in services.store.get(back.id).imported["owner"]
