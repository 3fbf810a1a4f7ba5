"""Files of reward functions that hang, die, lie and print: each costs one clear error, and nothing of it stays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.jobs.conftest import wait_for
from tests.jobs.supervisor_process import is_alive
from tunesmith.errors import UserError
from tunesmith.training.rewards.custom import MEMORY_BYTES as MEMORY_BYTES_OF_A_RUN
from tunesmith.training.rewards.custom import RewardFile
from tunesmith.training.rewards.scoring import RewardSet
from tunesmith.training.rewards.spec import Completion, RewardSpec

MEMORY_BYTES = 600_000_000
SHORT, LONG = 1.0, 20.0  # seconds: for what never answers, and for what does, on a busy machine
SLACK = 20.0  # what never ends would take a minute and more
FINE = "def fine(completions, **columns):\n    return [0.5] * len(completions)\n"
TWO = {"completions": ["a", "b"]}
NamedFile = Callable[..., RewardFile]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[NamedFile]:
    """Make reward files of given code; afterwards no process may be left."""
    before = set(psutil.Process().children(recursive=True))
    made: list[RewardFile] = []

    def write(code: str | bytes, seconds: float = LONG, name: str = "mine.py") -> RewardFile:
        path = tmp_path / name
        path.write_bytes(code if isinstance(code, bytes) else code.encode())
        made.append(RewardFile(path, seconds=seconds, memory_bytes=MEMORY_BYTES))
        return made[-1]

    yield write
    for file in made:
        file.close()
    assert set(psutil.Process().children(recursive=True)) <= before


def refused(action: Callable[[], object], seconds: float = LONG) -> UserError:
    begin = time.monotonic()
    with pytest.raises(UserError) as caught:
        action()
    assert time.monotonic() - begin < seconds + SLACK
    assert caught.value.facts["file"] == "mine.py"
    return caught.value


def function(body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"import contextlib, os, re, signal, subprocess, sys, threading, time\n{FINE}def bad(completions, **columns):\n{lines}"


ENDINGS = {
    "loop": ("while True: pass", "reward_timeout"),
    "sleep": ("time.sleep(60)", "reward_timeout"),
    "busy in C": ("re.match('(a|a)+$', 'a' * 60 + 'b')", "reward_timeout"),
    "deaf to signals": ("for s in (2, 14, 15): signal.signal(s, signal.SIG_IGN)\ntime.sleep(60)", "reward_timeout"),
    "stopped": ("os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(60)", "reward_timeout"),
    "allocation": ("[0] * 10**10", "failed"),
    "growth": ("kept = []\nwhile True: kept.append(bytearray(10**7))", "failed"),
    "sys.exit": ("sys.exit(3)", "failed"),
    "os._exit": ("os._exit(3)", 3),
    "abort": ("os.abort()", -signal.SIGABRT),
    "kill": ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
    "segfault": ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
    "exception": ("raise ValueError('no')", "failed"),
    "recursion": ("def again(): again()\nagain()", "failed"),
    "interrupt": ("raise KeyboardInterrupt", "failed"),
    "input": ("input('? ')", "failed"),
    "an error without a text": ("class Odd(Exception):\n    def __str__(self): raise SystemExit\nraise Odd", "failed"),
    "odd letters": ("raise ValueError('\\ud800' * 2000)", "failed"),
}


@pytest.mark.parametrize(("body", "ending"), ENDINGS.values(), ids=ENDINGS)
def test_a_function_that_ends_badly(make: NamedFile, body: str, ending: str | int) -> None:
    seconds = SHORT if ending == "reward_timeout" else LONG
    file = make(function(body))
    assert file.functions() == ["bad", "fine"]
    file._seconds = seconds  # only now: a busy machine may take long to start it
    error = refused(lambda: file.score("bad", TWO, 2), seconds)
    assert error.facts["function"] == "bad"
    if ending == "failed":
        assert error.code == "reward_failed"
        assert 5 <= int(str(error.facts["line"])) <= 7 or "MemoryError: more" in str(error.facts["reason"])
        assert len(str(error.facts["reason"])) <= 500
    elif isinstance(ending, int):
        assert (error.code, error.facts["exit"]) == ("reward_died", ending)
    else:
        assert (error.code, error.facts["seconds"]) == (ending, seconds)
    file._seconds = LONG
    assert file.score("fine", TWO, 2) == [0.5, 0.5]


@pytest.mark.parametrize(("body", "ending"), ENDINGS.values(), ids=ENDINGS)
def test_a_file_that_ends_badly_when_it_is_loaded(make: NamedFile, body: str, ending: str | int) -> None:
    seconds = SHORT if ending == "reward_timeout" else LONG
    ending = "reward_file_slow" if ending == "reward_timeout" else ending  # it is the file that is late, no function of it
    file = make(f"{function('pass')}{body}\n", seconds)
    error = refused(lambda: file.score("fine", TWO, 2), seconds)
    if ending == "failed":
        assert error.code == "reward_file_broken"
        assert 6 <= int(str(error.facts["line"])) <= 8 or "MemoryError: more" in str(error.facts["reason"])
    elif isinstance(ending, int):
        assert (error.code, error.facts["exit"]) == ("reward_died", ending)
    else:
        assert error.code == ending
    file._seconds = LONG
    file.path.write_text(FINE)
    assert file.score("fine", TWO, 2) == [0.5, 0.5]


@pytest.mark.parametrize(
    ("code", "line", "reason"),
    [
        ("x = 1\n\ndef f(:\n", 3, "SyntaxError"), ("x = 1\n\nimport nothing_like_this\n", 3, "ModuleNotFoundError"),
        ("x = 1\neval('(')\n", 2, "SyntaxError"), ("def f():\n\tx\n        y\n", 3, "TabError"), (b"x = '\xff'\n", 1, "SyntaxError"),
        (b"x = 1\0\n", 0, ""), ("(" * 5000, 1, ""),
    ],
)  # fmt: skip
def test_a_broken_file_tells_the_line(make: NamedFile, code: str | bytes, line: int, reason: str) -> None:
    error = refused(make(code).functions)
    assert (error.code, error.facts["line"]) == ("reward_file_broken", line)
    assert reason in str(error.facts["reason"])


RETURNS = {
    "too few": ("return [1.0]", "reward_wrong_count", 1),
    "too many": ("return [1.0] * 5", "reward_wrong_count", 3),
    "without end": ("while True: yield 1.0", "reward_wrong_count", 3),
    "a word": ("return 'ab'", "reward_not_a_number", "str"),
    "a word of digits": ("return '12'", "reward_not_a_number", "str"),
    "words": ("return [1, '0.5']", "reward_not_a_number", "str"),
    "bytes": ("return [1, b'1']", "reward_not_a_number", "bytes"),
    "lists": ("return [[1], [2]]", "reward_not_a_number", "list"),
    "NaN": ("return [1, float('nan')]", "reward_not_a_number", "nan"),
    "infinity": ("return [1, -float('inf')]", "reward_not_a_number", "-inf"),
    "a number without end": ("return [1, 10**5000]", "reward_not_a_number", "int"),
    "a complex number": ("return [1, 1j]", "reward_not_a_number", "complex"),
    "keys": ("return {'a': 1, 'b': 2}", "reward_not_a_number", "str"),
}


@pytest.mark.parametrize(("body", "code", "found"), RETURNS.values(), ids=RETURNS)
def test_a_wrong_answer(make: NamedFile, body: str, code: str, found: object) -> None:
    file = make(function(body))
    error = refused(lambda: file.score("bad", TWO, 2))
    assert (error.code, error.facts["function"], error.facts["found"]) == (code, "bad", found)
    assert file.score("fine", TWO, 2) == [0.5, 0.5]


@pytest.mark.parametrize("body", ["return None", "return 1.0", "pass", "return 1 / 0", "return columns['missing']"])
def test_an_answer_that_is_no_list(make: NamedFile, body: str) -> None:
    assert refused(lambda: make(function(body)).score("bad", TWO, 2)).code == "reward_failed"


@pytest.mark.parametrize(
    ("body", "values"),
    [
        ("return [None, 1]", [None, 1.0]), ("return (True, False)", [1.0, 0.0]), ("yield 0.25\nyield -3", [0.25, -3.0]),
        ("return {1: 'a', 2: 'b'}", [1.0, 2.0]), ("import numpy\nreturn numpy.array([0.5, 2], 'float32')", [0.5, 2.0]),
        ("class Odd:\n    def __float__(self): return 0.5\nreturn [Odd(), Odd()]", [0.5, 0.5]),
        ("from fractions import Fraction\nreturn map(Fraction, ['1/2', '1/4'])", [0.5, 0.25]),
    ],
)  # fmt: skip
def test_numbers_of_every_kind(make: NamedFile, body: str, values: list[float | None]) -> None:
    file = make(function(body))
    file._memory_bytes = MEMORY_BYTES_OF_A_RUN  # numpy reserves much and uses little
    assert file.score("bad", TWO, 2) == values


NOISES = {
    "prints": 'print(\'{"id": 1, "values": [9, 9]}\', flush=True)',
    "writes": "sys.stdout.write('noise\\n'); sys.stdout.flush(); sys.__stdout__.write('x')",
    "descriptors": 'for fd in range(1, 10):\n    with contextlib.suppress(OSError): os.write(fd, b\'{"id": 1, "values": [9, 9]}\\n\')',
    "errors": "for _ in range(200): sys.stderr.write('x' * 100_000)",
    "odd letters": "print('\\ud800 東京')",
    "reads": "assert sys.stdin.read() == '' and os.read(0, 10) == b''",
    "moves": "os.chdir('/')",
    "closes": "sys.stdout.close(); sys.stdin.close(); os.closerange(0, 10)",
    "a thread": "threading.Thread(target=time.sleep, args=(60,)).start()",
    "a process": "subprocess.Popen(['sleep', '60'])",
    "a shell": "os.system('sleep 60 &')",
    "two of itself": "os.fork()",
    "a timer": "signal.alarm(60)",
    "files": "open('notes.txt', 'w').write('x' * 1000)",
}


@pytest.mark.parametrize("body", NOISES.values(), ids=NOISES)
def test_what_does_not_disturb_the_answers(make: NamedFile, body: str) -> None:
    file = make(f"{function(body)}    return [1.0, None]\n{body}\n")
    for _ in range(3):
        assert file.score("bad", TWO, 2) == [1.0, None]
        assert file.score("fine", TWO, 2) == [0.5, 0.5]
    assert file._child is not None
    group = file._child.pid
    file.close()
    wait_for(lambda: not any(_lives_in(group, process) for process in psutil.process_iter()))


def _lives_in(group: int, process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


FORGED = {
    "no number": '{"values": [9.0, 9.0]}', "another number": '{"id": 7, "values": [9.0, 9.0]}', "no object": "[]", "no JSON": "oh",
    "an answer too early": '{"id": 1, "values": [9.0, 9.0]}', "of another kind": '{"id": 1, "values": "ab"}',
    "odd": '{"id": 1, "error": 1}',
    "an integer": '{"id": 1, "values": [1, {}]}',
}  # fmt: skip


@pytest.mark.parametrize("line", FORGED.values(), ids=FORGED)
def test_a_forged_line_does_not_last(make: NamedFile, line: str) -> None:
    """A file that looks for the channel finds it; it spoils one answer of its own, not the next ones."""
    forge = f"for fd in range(3, 256):\n    with contextlib.suppress(OSError): os.write(fd, {line + chr(10)!r}.encode())"
    file = make(function(forge))
    for _ in range(2):
        with contextlib.suppress(UserError):
            file.score("bad", TWO, 2)
    with contextlib.suppress(UserError):  # the line that was left over
        file.score("fine", TWO, 2)
    assert file.score("fine", TWO, 2) == [0.5, 0.5]


def test_a_line_without_end(make: NamedFile) -> None:
    flood = "while True:\n    for fd in range(3, 256):\n        with contextlib.suppress(OSError): os.write(fd, b'x' * 65536)"
    file = make(function(flood))
    assert refused(lambda: file.score("bad", TWO, 2)).code == "reward_died"
    assert file.score("fine", TWO, 2) == [0.5, 0.5]


def test_a_closed_channel(make: NamedFile) -> None:
    file = make(function("os.closerange(0, 256)"))
    assert refused(lambda: file.score("bad", TWO, 2)).code == "reward_died"
    assert file.score("fine", TWO, 2) == [0.5, 0.5]


@pytest.mark.parametrize("ending", ["os._exit(4)", "time.sleep(60)"])
def test_a_process_that_escapes_holds_nothing_up(make: NamedFile, tmp_path: Path, ending: str) -> None:
    """It keeps the pipes open in a session of its own: waiting for their end would be waiting for it."""
    note = tmp_path / "pid"
    escape = f"os.setsid(); open('{note}.new', 'w').write(str(os.getpid())); os.rename('{note}.new', '{note}'); time.sleep(60)"
    file = make(function(f"if not os.fork():\n    {escape}\nwhile not os.path.exists('{note}'): time.sleep(0.01)\n{ending}"))
    assert file.functions()
    file._seconds = 2.0
    try:
        error = refused(lambda: file.score("bad", TWO, 2), 2.0)
        assert error.code in {"reward_died", "reward_timeout"}
        file._seconds = LONG
        assert file.score("fine", TWO, 2) == [0.5, 0.5]
    finally:
        os.kill(int(note.read_text()), signal.SIGKILL)


def test_a_function_or_file_that_is_not_there(make: NamedFile, tmp_path: Path) -> None:
    file = make("import math\nfrom json import loads\n_x = 1\nclass C: pass\ndef _hidden(): pass\n" + FINE)
    assert file.functions() == ["fine"]
    for _ in range(2):
        error = refused(lambda: file.score("loads", TWO, 2))
        assert (error.code, error.facts["function"], error.facts["known"]) == ("reward_function_unknown", "loads", "fine")
    file.path.unlink()
    assert file.score("fine", TWO, 2) == [0.5, 0.5]
    assert refused(file.functions).code == refused(lambda: file.score("fine", TWO, 2)).code == "reward_file_missing"
    for name in ("", "x" * 300 + ".py", "a\0.py"):
        with pytest.raises(UserError, match="reward_file_missing"):
            RewardFile(tmp_path / name).functions()
    assert make("").functions() == []


def test_a_file_of_any_name_and_what_it_may_use(make: NamedFile) -> None:
    code = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Pair:\n    a: int\n"
        "def few(completions, answer):\n    return [float(Pair(c == a).a) for c, a in zip(completions, answer)]\n"
        "async def later(completions): return [1]\ndef none(): return []\n"
    )
    file = make(code, name="my réward 東京.py")
    assert file.functions() == ["few", "later", "none"]
    assert file.score("few", TWO | {"answer": ["a", "x"], "level": [1, 2]}, 2) == [1.0, 0.0]
    with pytest.raises(UserError, match="reward_failed"):
        file.score("later", TWO, 2)
    assert file.score("none", {}, 0) == []


def test_a_changed_file_is_read_anew(make: NamedFile) -> None:
    file = make("def f(completions): return [1] * len(completions)\n")
    assert file.score("f", TWO, 2) == [1.0, 1.0]
    file.path.write_text(file.path.read_text().replace("[1]", "[2]"))  # of the same size, within a second
    assert file.functions() == ["f"]
    assert file.score("f", TWO, 2) == [2.0, 2.0]
    assert not (file.path.parent / "__pycache__").exists()


def test_any_text_and_any_column_arrive(make: NamedFile) -> None:
    file = make("def f(completions, odd, **_): return [float(ord(c[0])) if c else None for c in completions]\ndef g(odd): return odd\n")
    texts = ["\ud800", "東京", "", "\0", "\n", "\u2028", "😀"]
    values = file.score("f", {"completions": texts, "odd": [b"x", {1: {2}}, object(), None, float("nan"), 10**30, "x"]}, 7)
    assert values == [0xD800, ord("東"), None, 0, 10, 0x2028, 0x1F600]
    assert refused(lambda: file.score("g", {"odd": [1, float("nan")]}, 2)).code == "reward_not_a_number"


def test_many_calls_and_large_ones(make: NamedFile) -> None:
    file = make("def f(completions, **columns): return [len(c) for c in completions]\n" + FINE)
    for _ in range(50):
        assert file.score("f", {"completions": ["x" * 2000] * 64}, 64) == [2000.0] * 64
    assert file.score("f", {"completions": ["x"] * 100, "context": ["y" * 100_000] * 100}, 100) == [1.0] * 100
    assert file.score("f", {"completions": ["x"] * 50_000}, 50_000) == [1.0] * 50_000


def test_the_memory_is_watched_where_the_system_does_not(make: NamedFile) -> None:
    file = make(
        function("signal.alarm(0)\nkept = bytearray(200_000_000)\nfor i in range(0, 200_000_000, 4096): kept[i] = 1\ntime.sleep(60)")
    )
    assert file.functions()
    file._memory_bytes = 100_000_000
    error = refused(lambda: file.score("bad", TWO, 2))
    assert error.code == "reward_failed"
    assert "MemoryError" in str(error.facts["reason"])


def test_the_child_ends_when_who_started_it_is_gone(make: NamedFile, tmp_path: Path) -> None:
    file = make(function("while True: pass"))
    code = (
        "import sys\nfrom pathlib import Path\nfrom tunesmith.training.rewards.custom import RewardFile\n"
        f"f = RewardFile(Path({str(file.path)!r}), seconds=3.0)\nf.functions()\nprint(f._child.pid, flush=True)\nf._seconds = 60\n"
        "f.score(sys.argv[1], {'completions': []}, 0) if sys.argv[1] else sys.stdin.read()\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    for name in ("bad", ""):
        command = [sys.executable, "-c", code, name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as starter:
            assert starter.stdout is not None
            child = psutil.Process(int(starter.stdout.readline()))
            time.sleep(0.2)  # for its question
            starter.kill()
        wait_for(lambda child=child: not is_alive(child.pid))  # type: ignore[misc]


def test_a_set_of_real_files(make: NamedFile, tmp_path: Path) -> None:
    make(FINE + "def level(level, **_): return level\ndef fails(**_): raise ValueError('no')\n")
    specs = [RewardSpec("mine.py:fine", 2.0), RewardSpec("mine.py:fails"), RewardSpec("mine.py:level"), RewardSpec("f1")]
    rewards = RewardSet(specs, tmp_path, skip_failing=True)
    for _ in range(2):
        rewards.open()
        scores = rewards.score(["p", "q"], [Completion("a"), Completion("b")], [{"level": 3}, {"answer": "b"}])
        rewards.close()
        assert scores.total.tolist() == [4.0, 2.0]
        assert {name: error.facts["line"] for name, error in scores.skipped.items()} == {"fails": 4}
    with pytest.raises(UserError, match="reward_function_unknown"):
        RewardSet([RewardSpec("mine.py:none")], tmp_path).open()
