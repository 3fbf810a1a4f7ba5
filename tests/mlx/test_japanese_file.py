"""A Japanese file in Shift-JIS, from its bytes to a run that learned from it; code inside keeps its lines."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunesmith.services import dataset_versions as versions
from tunesmith.services import datasets, uploads
from tunesmith.services.context import Services, build_services

CODE = "```python\ndef ｆ(x):\n    return x  # ﾃｽﾄ\n\n\nprint(f(1))\n```"
ROWS = [
    ("ﾌｧｲﾙの読み方は?", f"次のＣＯＤＥです。\n{CODE}\n以上"),
    ("Ｐｙｔｈｏｎとは?", "言語です。"),
    ("終わり方は?", "「終了」を押します。"),
]


@pytest.fixture
def services(data_dir: object) -> Iterator[Services]:
    built = build_services()
    yield built
    built.close()


def test_a_shift_jis_file_is_read_normalised_and_trained(services: Services, run_training: Callable[..., tuple[str, Path]]) -> None:
    content = "質問,回答\r\n" + "".join(f'"{q}","{a}"\r\n' for q, a in ROWS * 4)
    path = uploads.hold(services, [("問答.csv", io.BytesIO(content.encode("cp932")))])
    assert versions.inspect_file(path).encoding == "cp932"
    name = versions.import_file(services, path)
    assert datasets.row_value(services, name, "train", 0) == {"prompt": ROWS[0][0], "answer": ROWS[0][1]}
    versions.clean(services, name, [], ["nfkc"])
    row = datasets.row_value(services, name, "train", 0)
    assert row == {"prompt": "ファイルの読み方は?", "answer": f"次のCODEです。\n{CODE}\n以上"}  # the code stays byte for byte
    assert datasets.row_value(services, name, "train", 1) == {"prompt": "Pythonとは?", "answer": "言語です。"}
    version = versions.versions(services, name)[-1]
    assert version.record["settings"]["changed"] == {"nfkc": 8}
    status, run = run_training(version.path, iters=2)
    assert status == "completed"
    assert list(run.rglob("adapters.safetensors"))
