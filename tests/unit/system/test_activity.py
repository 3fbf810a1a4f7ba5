"""Load, graphics processors and our own processes: parsers by what the programs print, the rest by this computer itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tunesmith.system import activity, gpu, own_processes, thermal
from tunesmith.system.activity import LoadHistory, sample_load
from tunesmith.system.gpu import Gpu, parse_ioreg, parse_nvidia

NVIDIA = """NVIDIA H200, 37, 10240, 143771, 54, 312.45
NVIDIA RTX, [N/A], 512, 24564, 40, [N/A]
nonsense
"""
IOREG = """+-o AGXAcceleratorG14X  <class AGXAcceleratorG14X, id 0x100000abc, registered, matched, active, busy 0 (0 ms), retain 99>
    {
      "model" = "Apple M2 Ultra"
      "PerformanceStatistics" = {"In use system memory (driver)"=0,"Alloc system memory"=9000000000,"Tiler Utilization %"=2,\
"Renderer Utilization %"=3,"Device Utilization %"=41,"In use system memory"=2147483648}
    }
"""


def test_nvidia_s_lines_are_read_and_what_it_does_not_tell_stays_unknown() -> None:
    first, second = parse_nvidia(NVIDIA)
    assert first == Gpu("NVIDIA H200", 37.0, 10240 << 20, 143771 << 20, 54.0, 312.45)
    assert (second.busy_percent, second.watts, second.memory_used_bytes) == (None, None, 512 << 20)
    assert parse_nvidia("") == []


def test_macos_tells_how_busy_its_processor_is() -> None:
    assert parse_ioreg(IOREG) == [Gpu("Apple M2 Ultra", 41.0, 2 << 30)]
    assert parse_ioreg("+-o Something else") == []


def test_nvidia_smi_is_asked_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real program of that name, which answers only to the fields that we ask for."""
    program = tmp_path / "nvidia-smi"
    wanted = "--query-gpu=name,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw --format=csv,noheader,nounits"
    program.write_text(f'#!/bin/sh\n[ "$*" = "{wanted}" ] && echo "NVIDIA H200, 37, 10240, 143771, 54, 312.45"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert [each.name for each in gpu.read_gpus()] == ["NVIDIA H200"]
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(gpu, "WAIT_SECONDS", 0.2)
    assert gpu.read_gpus() == []


def test_the_load_is_sampled_by_one_thread_whoever_looks() -> None:
    history = LoadHistory(every_seconds=0.02)
    assert len(history.samples) == 1
    history.start()
    before = threading.active_count()
    history.start()
    assert threading.active_count() == before
    began = time.monotonic()
    while time.monotonic() < began + 0.3 or (len(history.samples) <= 5 and time.monotonic() < began + 30):
        pass
    samples = history.samples
    assert len(samples) > 5
    assert [sample.at for sample in samples] == sorted(sample.at for sample in samples)
    assert max(sample.cpu_percent for sample in samples) > 100 / (2 * psutil.cpu_count())  # this loop took a core
    memory = psutil.virtual_memory()
    assert samples[-1].memory_total_bytes == memory.total
    assert abs(samples[-1].memory_used_bytes - (memory.total - memory.available)) < 0.5 * memory.total


def test_a_history_keeps_five_minutes() -> None:
    assert activity.KEPT_SAMPLES * activity.EVERY_SECONDS == 300
    history = LoadHistory()
    for _ in range(activity.KEPT_SAMPLES + 5):
        history._samples.append(sample_load())
    assert len(history.samples) == activity.KEPT_SAMPLES


def test_workers_that_an_earlier_server_left_are_counted(tmp_path: Path) -> None:
    """A grandchild whose parent is gone belongs to nobody, but its command names the module and our folder."""
    run = tmp_path / "experiments" / "one"
    code = "import time; time.sleep(30)"
    command = f"[sys.executable, '-c', {code!r}, 'tunesmith.jobs.worker', {str(run)!r}]"
    alone = f"import subprocess, sys; print(subprocess.Popen({command}, stdout=-3, stderr=-3).pid)"  # -3: nowhere
    pid = int(subprocess.run([sys.executable, "-c", alone], capture_output=True, text=True, check=True).stdout)
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 10
        while psutil.Process(pid).memory_info().rss < 1_000_000 and time.monotonic() < deadline:
            time.sleep(0.02)
        found = {use.kind: use for use in own_processes.own_processes(tmp_path)}
        assert (found["server"].count, found["run"].count, found["helper"].count) == (1, 1, 1)
        assert found["run"].memory_bytes > 1_000_000
        assert "run" not in {use.kind for use in own_processes.own_processes(tmp_path / "elsewhere")}
    finally:
        psutil.Process(pid).kill()
        child.kill()
        child.wait()


def test_the_hottest_sensor_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reading:
        def __init__(self, current: float) -> None:
            self.current = current

    sensors = {"cpu": [Reading(41.0), Reading(63.5)], "disk": [Reading(38.0)]}
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors, raising=False)
    assert thermal.hottest_celsius() == 63.5
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    assert thermal.hottest_celsius() is None
