"""Whether heat slows the processor down, where the system tells. Knows no mlx."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import psutil

EVERY_SECONDS = 60.0
_last: tuple[float, int] = (float("-inf"), 100)


def speed_limit_percent() -> int:
    """Return the speed that heat allows, in percent of full; 100 where nothing is known. Asks macOS's pmset once a minute."""
    global _last
    if sys.platform != "darwin":
        return 100
    if time.monotonic() - _last[0] > EVERY_SECONDS:
        answer = subprocess.run(["/usr/bin/pmset", "-g", "therm"], capture_output=True, text=True, check=False).stdout
        _last = (time.monotonic(), parse_speed_limit(answer))
    return _last[1]


def hottest_celsius() -> float | None:
    """Return the highest temperature that a sensor tells, None where the system lets nobody read them (macOS)."""
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    return max((float(reading.current) for readings in sensors.values() for reading in readings), default=None)


def parse_speed_limit(text: str) -> int:
    """Return the `CPU_Speed_Limit` in pmset's answer, 100 when there is none."""
    found = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", text)
    return int(found.group(1)) if found else 100
