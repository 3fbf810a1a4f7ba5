"""Signing in by a provider that answers on loopback: what is taken of its answers and what is not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
import requests
from joserfc.jwk import RSAKey

from tests.oidc_double import CLIENT, SECRET, OidcDouble, oidc_double
from tunesmith.access import sign_in
from tunesmith.access.codes import AccessFile
from tunesmith.access.people import ADMIN, TRAINER, VIEWER, Person
from tunesmith.access.provider import Provider, ProviderFile, check_provider
from tunesmith.access.sign_in import CALLBACK, SignIn, check_token
from tunesmith.errors import UserError

HERE = "http://127.0.0.1:8501"


@pytest.fixture(scope="module")
def running() -> Iterator[OidcDouble]:
    with oidc_double() as double:
        yield double


@pytest.fixture
def double(running: OidcDouble) -> OidcDouble:
    fresh = OidcDouble(running.issuer, running.key)
    for name in ("user", "spoil", "sign", "metadata", "asked", "codes"):
        setattr(running, name, getattr(fresh, name))
    return running


@pytest.fixture
def provider(double: OidcDouble) -> Provider:
    return Provider(double.issuer, CLIENT, SECRET, HERE, {"ada@lab.example": ADMIN, "@lab.example": TRAINER})


def go(flow: SignIn, wanted: str = "/") -> tuple[str, dict[str, str]]:
    """Go to the provider as a browser does; return the note and what the provider sent back."""
    address, note = flow.begin(wanted)
    back = requests.get(address, allow_redirects=False, timeout=5).headers["location"]
    assert back.startswith(HERE + CALLBACK + "?")
    return note, {name: values[0] for name, values in parse_qs(urlparse(back).query).items()}


def sign_in_once(provider: Provider) -> Person:
    flow = SignIn(provider, "k" * 64)
    return flow.finish(*go(flow))[0]


def refusal(act: Callable[[], object]) -> tuple[str, object]:
    with pytest.raises(UserError) as error:
        act()
    return error.value.code, error.value.facts.get("reason")


def test_whoever_the_provider_vouches_for_comes_in_under_that_address(double: OidcDouble, provider: Provider) -> None:
    flow = SignIn(provider, "k" * 64)
    note, answer = go(flow, "/experiments?tag=a")
    assert flow.finish(note, answer) == (Person("ada@lab.example", ADMIN), "/experiments?tag=a")
    assert len({double.asked[0][name] for name in ("state", "nonce", "code_challenge")}) == 3
    assert refusal(lambda: flow.finish(note, answer)) == ("oidc_refused", "invalid_grant")  # a code is good for once


@pytest.mark.parametrize(
    ("email", "default", "role"),
    [("ada@lab.example", "", ADMIN), ("Tom@LAB.example", "", TRAINER), ("eve@else.example", VIEWER, VIEWER), ("eve@else.example", "", None),
     ("eve@sub.lab.example", "", None), ("eve@lab.example.evil.example", "", None), ("ada@lab.example@evil.example", VIEWER, None),
     ("", VIEWER, None)],
)  # fmt: skip
def test_roles_go_by_address_then_domain_then_the_default(
    double: OidcDouble, provider: Provider, email: str, default: str, role: str | None
) -> None:
    double.user = {"sub": "2", "email": email, "email_verified": True}
    asked = replace(provider, default_role=default)
    if role:
        assert sign_in_once(asked) == Person(email.lower(), role)
    else:
        assert refusal(lambda: sign_in_once(asked))[0] in {"oidc_person_unknown", "oidc_email_unverified"}


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_address_that_is_not_verified_counts_only_where_an_admin_says_so(
    double: OidcDouble, provider: Provider, verified: object
) -> None:
    double.user = {"sub": "1", "email": "ada@lab.example", "email_verified": verified}
    assert refusal(lambda: sign_in_once(provider))[0] == "oidc_email_unverified"
    assert sign_in_once(replace(provider, trust_emails=True)).role == ADMIN


OLD = int(time.time()) - 1000
SPOILT: dict[str, Callable[[dict[str, Any]], object]] = {
    "iss": lambda c: c.update(iss="http://127.0.0.1:1"), "aud": lambda c: c.update(aud="another"),
    "aud list": lambda c: c.update(aud=["x"]),
    "azp": lambda c: c.update(aud=[CLIENT, "another"]), "azp other": lambda c: c.update(azp="another"), "exp": lambda c: c.update(exp=OLD),
    "no exp": lambda c: c.pop("exp"), "exp nan": lambda c: c.update(exp="soon"), "iat": lambda c: c.update(iat=OLD + 10_000),
    "nbf": lambda c: c.update(nbf=OLD + 10_000), "nonce": lambda c: c.update(nonce="another"), "no nonce": lambda c: c.pop("nonce"),
    "no sub": lambda c: c.pop("sub"), "no iss": lambda c: c.pop("iss"), "no aud": lambda c: c.pop("aud"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_a_token_that_was_not_made_for_this_sign_in_is_refused(double: OidcDouble, provider: Provider, name: str) -> None:
    double.spoil = SPOILT[name]
    code, reason = refusal(lambda: sign_in_once(provider))
    assert code == "oidc_token_wrong"
    assert reason


OTHER = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
FORGED: dict[str, Callable[[OidcDouble, dict[str, Any]], str]] = {
    "alg none": lambda d, c: d.unsigned(c), "alg none with a signature": lambda d, c: d.unsigned(c) + d.signed(c).rpartition(".")[2],
    "public key as secret": lambda d, c: d.by_public_key(c), "another key": lambda d, c: d.signed(c, OTHER),
    "no signature": lambda d, c: d.signed(c).rpartition(".")[0] + ".",
    "another content": lambda d, c: ".".join([d.signed(c).split(".")[0], d.signed(c | {"email": "eve@x.example"}).split(".")[1],
                                              d.signed(c).split(".")[2]]),
    "nothing": lambda *_: "", "no token": lambda *_: "a.b.c",
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_token_without_the_provider_s_signature_is_refused(double: OidcDouble, provider: Provider, name: str) -> None:
    double.sign = lambda claims: FORGED[name](double, claims)
    assert refusal(lambda: sign_in_once(provider))[0] == "oidc_token_wrong"
    double.sign = None
    assert sign_in_once(provider).role == ADMIN


def test_only_the_browser_that_began_can_come_back(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = SignIn(provider, "k" * 64)
    note, answer = go(flow)
    other, _ = go(flow)
    for wrong_note, wrong in (
        ("", answer), (other, answer), (note[:-1], answer), (note, answer | {"state": ""}), (note, answer | {"state": "ｘ"}),
        (SignIn(provider, "o" * 64).begin("/")[1], answer),
    ):  # fmt: skip
        assert refusal(lambda wrong_note=wrong_note, wrong=wrong: flow.finish(wrong_note, wrong))[0] == "oidc_state_wrong"
    assert refusal(lambda: flow.finish(note, answer | {"iss": "http://127.0.0.1:1"})) == ("oidc_token_wrong", "iss")
    assert refusal(lambda: flow.finish(note, {"state": answer["state"], "error": "access_denied"})) == ("oidc_refused", "access_denied")
    later = time.time() + sign_in.ON_THE_WAY_SECONDS + 2
    monkeypatch.setattr(time, "time", lambda: later)
    assert refusal(lambda: flow.finish(note, answer))[0] == "oidc_state_wrong"


def test_the_provider_checks_the_verifier_of_our_challenge(double: OidcDouble, provider: Provider) -> None:
    """A code that was caught on the way is worth nothing: the verifier is in the cookie alone."""
    flow = SignIn(provider, "k" * 64)
    note, answer = go(flow)
    other_note, other = go(flow)
    assert refusal(lambda: flow.finish(other_note, other | {"code": answer["code"]})) == ("oidc_refused", "invalid_grant")
    assert refusal(lambda: sign_in_once(replace(provider, client_secret="wrong"))) == ("oidc_refused", "invalid_client")
    del note


@pytest.mark.parametrize(
    ("metadata", "code"),
    [({"issuer": "http://127.0.0.1:1"}, "oidc_answer_wrong"), ({"token_endpoint": None}, "oidc_answer_wrong"),
     ({"token_endpoint": "http://evil.example/token"}, "oidc_address_wrong"), ({"jwks_uri": "file:///etc/passwd"}, "oidc_address_wrong")],
)  # fmt: skip
def test_a_provider_that_is_another_or_can_be_listened_to_is_refused(
    double: OidcDouble, provider: Provider, metadata: dict[str, Any], code: str
) -> None:
    double.metadata = metadata
    assert refusal(lambda: SignIn(provider, "k" * 64).begin("/"))[0] == code


def test_a_provider_that_is_away_or_answers_rubbish_is_told(provider: Provider) -> None:
    assert refusal(lambda: SignIn(replace(provider, issuer="http://127.0.0.1:9"), "k").begin("/"))[0] == "oidc_unreachable"
    assert refusal(lambda: SignIn(replace(provider, issuer=provider.issuer + "/none"), "k").begin("/"))[0] == "oidc_answer_wrong"


def test_keys_of_another_kind_are_not_taken(double: OidcDouble, provider: Provider) -> None:
    token = double.token("n")
    assert check_token(token, double.keys(), provider, "n")["sub"] == "1"
    for keys in ({}, {"keys": []}, {"keys": [{"kty": "oct", "k": "AA"}]}, {"keys": None}, {"keys": ["x"]}):
        assert refusal(lambda keys=keys: check_token(token, keys, provider, "n"))[0] == "oidc_token_wrong"


@pytest.mark.parametrize(
    "changes",
    [{"issuer": "http://id.example"}, {"issuer": "ftp://id.example"}, {"issuer": "https://user@id.example"}, {"issuer": ""},
     {"address": "http://studio.local/app"}, {"address": "studio.local"}, {"address": "http://"}, {"client_id": " "}, {"client_secret": ""},
     {"roles": {"Ada@lab.example": ADMIN}}, {"roles": {"lab.example": ADMIN}}, {"roles": {"@": ADMIN}},
     {"roles": {"ada@lab.example": "king"}}, {"default_role": "king"}],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any]) -> None:
    good = Provider("https://id.example", CLIENT, SECRET, "http://studio.local:8501")
    check_provider(good)
    with pytest.raises(UserError):
        check_provider(replace(good, **changes))


def test_the_provider_is_kept_in_private_and_ends_every_session(tmp_path: Path) -> None:
    file, access = ProviderFile(tmp_path / "secrets"), AccessFile(tmp_path / "secrets")
    before = access.open()
    assert file.open() is None
    kept = Provider("https://id.example", CLIENT, SECRET, "http://studio.local:8501", {"@lab.example": VIEWER}, codes=False)
    file.keep(kept)
    assert file.open() == kept
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert access.open().key != before.key
    assert access.open().codes == before.codes
    file.path.chmod(0o644)
    assert refusal(file.open)[0] == "secrets_readable_by_others"
    file.path.chmod(0o600)
    file.path.write_text('{"issuer": "https://id.example"}')
    assert refusal(file.open)[0] == "store_file_unreadable"
    assert file.remove()
    assert not file.remove()
