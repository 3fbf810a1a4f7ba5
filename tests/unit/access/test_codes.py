"""Codes, notes and the limit on guessing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tunesmith.access.attempts import OF_ALL, OF_ONE, WINDOW_SECONDS, Attempts
from tunesmith.access.codes import AccessCodes, AccessFile, make_code
from tunesmith.access.people import ADMIN, ROLES, TRAINER, VIEWER, Person, clean_name
from tunesmith.access.sessions import SESSION_SECONDS, Sessions
from tunesmith.errors import UserError
from tunesmith.system.hosts import own_names


def code_of(error: pytest.ExceptionInfo[UserError]) -> str:
    return error.value.code


def test_a_code_has_at_least_128_bits() -> None:
    letters = make_code().replace("-", "")
    assert len(letters) * math.log2(31) >= 128
    assert len({make_code() for _ in range(100)}) == 100


def test_codes_are_made_once_kept_and_private(tmp_path: Path) -> None:
    file = AccessFile(tmp_path / "secrets")
    codes = file.open()
    assert file.open() == codes
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    assert len({*codes.codes.values()}) == 3


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = AccessFile(tmp_path)
    file.open()
    file.path.chmod(0o640)
    with pytest.raises(UserError) as error:
        file.open()
    assert code_of(error) == "secrets_readable_by_others"


@pytest.mark.parametrize("content", ["{}", "[]", "not json", '{"codes": {"viewer": "a"}, "key": "b"}', '{"codes": null, "key": "x"}'])
def test_a_broken_file_is_not_replaced_by_new_codes(tmp_path: Path, content: str) -> None:
    file = AccessFile(tmp_path)
    file.path.write_text(content)
    file.path.chmod(0o600)
    with pytest.raises(UserError) as error:
        file.open()
    assert code_of(error) == "store_file_unreadable"
    assert file.path.read_text() == content


def test_each_code_opens_its_role_however_it_is_typed() -> None:
    codes = AccessCodes({role: f"{role}-abcde-fghjk" for role in ROLES}, "k" * 64)
    for role in ROLES:
        assert codes.role_of(f" {role.upper()} abcde fghjk\n") == role
    for wrong in ("", "-", "viewer", "viewer-abcde-fghj", "viewer-abcde-fghjkm", "𝓿iewer"):
        assert codes.role_of(wrong) is None


def test_a_passphrase_is_long_and_of_one_role_alone(tmp_path: Path) -> None:
    file = AccessFile(tmp_path)
    key = file.open().key
    chosen = file.choose(TRAINER, "correct horse battery")
    assert chosen.role_of("correct horse battery") == TRAINER
    assert chosen.key != key
    for words, role, code in (("short", VIEWER, "passphrase_short"), ("Correct-horse battery", VIEWER, "passphrase_taken")):
        with pytest.raises(UserError) as error:
            file.choose(role, words)
        assert code_of(error) == code


def test_roles_contain_each_other() -> None:
    may = {role: [needed for needed in ROLES if Person("A", role).may(needed)] for role in ROLES}
    assert may == {VIEWER: [VIEWER], TRAINER: [VIEWER, TRAINER], ADMIN: [VIEWER, TRAINER, ADMIN]}


def test_names_are_one_visible_line() -> None:
    assert clean_name("  Ada\tLovelace\u202e\x00 ") == "Ada Lovelace"
    assert clean_name("山田 太郎") == "山田 太郎"
    for wrong in ("", " \n", "\u200b", "x" * 41):
        with pytest.raises(UserError):
            clean_name(wrong)


def test_notes_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    note = Sessions("k" * 64).issue(Person("Ada", VIEWER))
    assert Sessions("k" * 64).read(note) == Person("Ada", VIEWER)
    import time

    later = time.time() + SESSION_SECONDS + 2
    monkeypatch.setattr(time, "time", lambda: later)
    assert Sessions("k" * 64).read(note) is None


def test_guessing_is_slow() -> None:
    clock = [0.0]
    attempts = Attempts(lambda: clock[0])
    for _ in range(OF_ONE):
        assert attempts.seconds_to_wait("10.0.0.1") == 0
        attempts.note_failure("10.0.0.1")
    assert attempts.seconds_to_wait("10.0.0.1") == WINDOW_SECONDS
    assert attempts.seconds_to_wait("10.0.0.2") == 0
    clock[0] = WINDOW_SECONDS
    assert attempts.seconds_to_wait("10.0.0.1") == 0


def test_many_addresses_guess_no_faster_than_all_together() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(OF_ALL):
        attempts.note_failure(f"10.0.{number}.1")
    assert attempts.seconds_to_wait("10.9.9.9") > 0


def test_one_network_of_ipv6_counts_as_one() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(OF_ONE):
        attempts.note_failure(f"2001:db8::{number}")
    assert attempts.seconds_to_wait("2001:db8::ffff") > 0
    assert attempts.seconds_to_wait("2001:db8:0:1::1") == 0


def test_own_names_are_addresses_and_names() -> None:
    names = own_names(["Studio.Example:8501", "bad name"])
    assert {"127.0.0.1", "localhost", "studio.example"} <= names
    assert "bad name" not in names
