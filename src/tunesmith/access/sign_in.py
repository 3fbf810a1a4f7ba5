"""Signing in by an OpenID provider: the authorization code flow with PKCE, state and nonce. Knows no cookies and no pages.

Source: OpenID Connect Core 1.0 §3.1, RFC 7636 (PKCE), RFC 9207 (issuer in the answer). The provider's certificate is checked by TLS,
its tokens by their signature. Streamlit's own `st.login` runs inside of a page, and the door stands before all pages; so the door itself
asks the provider, with the same library (Authlib).
"""

from __future__ import annotations

import hmac
import importlib.util
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import requests
from itsdangerous import BadData, URLSafeTimedSerializer

from tunesmith.access.people import Person
from tunesmith.access.provider import Provider, clean_email, require_safe_address
from tunesmith.errors import UserError

START, CALLBACK = "/login/oidc", "/login/oidc/callback"
ON_THE_WAY_SECONDS, TIMEOUT_SECONDS, CLOCK_SECONDS = 600, 10.0, 60
METADATA_SECONDS = 600.0  # whoever only knocks does not make us ask the provider each time
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")  # never none, never a shared key
_MOST_BYTES = 1_000_000
_ADDRESSES = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True)
class OnTheWay:
    """What a browser takes along to the provider and back, signed, in a cookie of its own."""

    state: str
    nonce: str
    verifier: str
    wanted: str


class SignIn:
    """The flow with one provider; its calls ask the provider and block for as long."""

    def __init__(self, provider: Provider, key: str) -> None:
        """`key` signs what a browser takes along. Raises UserError `oidc_library_missing`."""
        if not importlib.util.find_spec("authlib"):
            raise UserError("oidc_library_missing")
        self._provider = provider
        self._serializer = URLSafeTimedSerializer(key, salt="tunesmith-oidc")
        self._known: tuple[float, dict[str, Any]] = (0.0, {})

    def begin(self, wanted: str) -> tuple[str, str]:
        """Return the provider's address to go to, and the note to take along; `wanted` is where somebody wants to be afterwards.

        Raises UserError `oidc_unreachable`, `oidc_answer_wrong`, `oidc_address_wrong`.
        """
        way = OnTheWay(secrets.token_urlsafe(48), secrets.token_urlsafe(48), secrets.token_urlsafe(48), wanted)
        with self._client() as client:
            target = self._metadata(client)["authorization_endpoint"]
            address, _ = client.create_authorization_url(
                target, state=way.state, nonce=way.nonce, code_verifier=way.verifier, prompt="select_account"
            )
        return str(address), str(self._serializer.dumps([way.state, way.nonce, way.verifier, way.wanted]))

    def finish(self, note: str, answer: Mapping[str, str]) -> tuple[Person, str]:
        """Return who the provider says that it is, and where that person wanted to be.

        Raises UserError `oidc_state_wrong`, `oidc_refused`, `oidc_unreachable`, `oidc_answer_wrong`, `oidc_token_wrong`,
        `oidc_email_unverified`, `oidc_person_unknown`.
        """
        way = self._read(note)
        if not hmac.compare_digest(way.state.encode(), answer.get("state", "").encode()):
            raise UserError("oidc_state_wrong")
        if answer.get("iss", self._provider.issuer) != self._provider.issuer:
            raise UserError("oidc_token_wrong", reason="iss")
        if answer.get("error") or not answer.get("code"):
            raise UserError("oidc_refused", reason=answer.get("error", "-")[:100])
        with self._client() as client:
            metadata = self._metadata(client)
            if "client_secret_basic" not in metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]):
                client.token_endpoint_auth_method = "client_secret_post"  # noqa: S105 its name, no secret
            token = self._exchange(client, metadata["token_endpoint"], answer["code"], way.verifier)
            keys = self._ask(client, metadata["jwks_uri"])
        return self._person(check_token(token, keys, self._provider, way.nonce)), way.wanted

    def _read(self, note: str) -> OnTheWay:
        try:
            state, nonce, verifier, wanted = self._serializer.loads(note, max_age=ON_THE_WAY_SECONDS)
        except (BadData, TypeError, ValueError) as error:
            raise UserError("oidc_state_wrong") from error
        return OnTheWay(str(state), str(nonce), str(verifier), str(wanted))

    def _client(self) -> Any:
        from authlib.integrations.requests_client import OAuth2Session

        client = OAuth2Session(
            self._provider.client_id, self._provider.client_secret, scope="openid email profile",
            redirect_uri=self._provider.address + CALLBACK, code_challenge_method="S256",
        )  # fmt: skip
        client.trust_env = False  # the addresses are the admin's alone: no proxy and no password of the environment
        return client

    def _metadata(self, client: Any) -> dict[str, Any]:
        asked_at, told = self._known
        if told and time.monotonic() - asked_at < METADATA_SECONDS:
            return told
        told = self._ask(client, self._provider.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if told.get("issuer") != self._provider.issuer or not all(isinstance(told.get(name), str) for name in _ADDRESSES):
            raise UserError("oidc_answer_wrong", provider=self._provider.name)
        for name in _ADDRESSES:
            require_safe_address(name, told[name])
        self._known = (time.monotonic(), told)
        return told

    def _ask(self, client: Any, address: str) -> dict[str, Any]:
        try:
            with client.get(address, withhold_token=True, timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True) as answer:
                body = answer.raw.read(_MOST_BYTES, decode_content=True)
                told = orjson.loads(body) if answer.status_code == 200 else None
        except (requests.RequestException, OSError) as error:
            raise UserError("oidc_unreachable", provider=self._provider.name) from error
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise UserError("oidc_answer_wrong", provider=self._provider.name)
        return told

    def _exchange(self, client: Any, address: str, code: str, verifier: str) -> str:
        from authlib.common.errors import AuthlibBaseError

        try:
            told = client.fetch_token(address, code=code, code_verifier=verifier, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        except AuthlibBaseError as error:
            raise UserError("oidc_refused", reason=str(error.error or "-")[:100]) from error
        except (requests.RequestException, OSError) as error:
            raise UserError("oidc_unreachable", provider=self._provider.name) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError("oidc_answer_wrong", provider=self._provider.name) from error
        return str(told.get("id_token", ""))

    def _person(self, claims: Mapping[str, Any]) -> Person:
        email = clean_email(str(claims.get("email", "")))
        if not email or not (claims.get("email_verified") is True or self._provider.trust_emails):
            raise UserError("oidc_email_unverified", provider=self._provider.name)
        role = self._provider.role_of(email)
        if not role:
            raise UserError("oidc_person_unknown", email=email)
        return Person(email, role)


def check_token(token: str, keys: dict[str, Any], provider: Provider, nonce: str) -> dict[str, Any]:
    """Return an identity token's claims: signed by the provider, for this server, for this very sign-in, and not old.

    `keys` is the provider's JWKS. Raises UserError `oidc_token_wrong` with the reason.
    """
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    rules = jwt.JWTClaimsRegistry(
        leeway=CLOCK_SECONDS, iss={"essential": True, "value": provider.issuer}, aud={"essential": True, "value": provider.client_id},
        exp={"essential": True}, iat={"essential": True}, sub={"essential": True}, nonce={"essential": True, "value": nonce},
    )  # fmt: skip
    try:
        signing = {"keys": [key for key in keys["keys"] if key.get("kty") != "oct" and key.get("use", "sig") == "sig"]}
        claims = jwt.decode(token, KeySet.import_key_set(signing), algorithms=list(ALGORITHMS)).claims  # type: ignore[arg-type]
        rules.validate(claims)
    except JoseError as error:
        raise UserError("oidc_token_wrong", reason=str(getattr(error, "claim", "") or error.error)) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError("oidc_token_wrong", reason=type(error).__name__) from error
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", None if several else provider.client_id) != provider.client_id:
        raise UserError("oidc_token_wrong", reason="azp")
    return dict(claims)
