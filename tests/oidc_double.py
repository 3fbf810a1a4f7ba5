"""An OpenID provider on loopback: discovery, authorization, tokens signed by a real RSA key, JWKS. It checks what a provider checks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlparse

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "tunesmith", "s3cret & more"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class OidcDouble:
    """`user` is whom it vouches for; `spoil` changes the claims of the next tokens, `sign` how they are signed."""

    issuer: str
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "first", "use": "sig"}))
    user: dict[str, Any] = field(default_factory=lambda: {"sub": "1", "email": "ada@lab.example", "email_verified": True})
    spoil: Callable[[dict[str, Any]], object] = id
    sign: Callable[[dict[str, Any]], str] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    exchanged: int = 0
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        places = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
        return {"issuer": self.issuer, **{name: self.issuer + path for name, path in places.items()}} | self.metadata

    def authorize(self, asked: dict[str, str]) -> str:
        """Return where the browser is sent back to: the person is signed in at once."""
        assert (asked["client_id"], asked["response_type"], asked["code_challenge_method"]) == (CLIENT, "code", "S256")
        assert {"openid", "email"} <= set(asked["scope"].split())
        self.asked.append(asked)
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.issuer})}"

    def exchange(self, sent: dict[str, str], authorization: str) -> dict[str, Any]:
        """Return tokens for a code, once, to the client that asked for it and knows the verifier."""
        scheme, _, words = authorization.partition(" ")
        known = self.codes.pop(sent.get("code", ""), None)
        if (scheme, base64.b64decode(words).decode()) not in {("Basic", f"{CLIENT}:{SECRET}"), ("Basic", f"{CLIENT}:{quote(SECRET)}")}:
            return {"error": "invalid_client"}
        challenge = b64(hashlib.sha256(sent.get("code_verifier", "").encode()).digest())
        if known is None or known["redirect_uri"] != sent.get("redirect_uri") or known["code_challenge"] != challenge:
            return {"error": "invalid_grant"}
        self.exchanged += 1
        return {"access_token": "opaque", "token_type": "Bearer", "id_token": self.token(known["nonce"])}

    def token(self, nonce: str) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce, **self.user}
        self.spoil(claims)
        return self.sign(claims) if self.sign else self.signed(claims)

    def signed(self, claims: dict[str, Any], key: RSAKey | None = None) -> str:
        return jwt.encode({"alg": "RS256", "kid": "first"}, claims, key or self.key)

    def unsigned(self, claims: dict[str, Any]) -> str:
        return f"{b64(json.dumps({'alg': 'none', 'typ': 'JWT'}).encode())}.{b64(json.dumps(claims).encode())}."

    def by_public_key(self, claims: dict[str, Any]) -> str:
        """Sign with the public key as if it were a shared secret."""
        signed = f"{b64(json.dumps({'alg': 'HS256', 'kid': 'first'}).encode())}.{b64(json.dumps(claims).encode())}"
        return f"{signed}.{b64(hmac.digest(self.key.as_pem(private=False), signed.encode(), 'sha256'))}"

    def keys(self) -> dict[str, Any]:
        return {"keys": [self.key.as_dict(private=False)]}


@contextmanager
def oidc_double(host: str = "127.0.0.1") -> Iterator[OidcDouble]:
    """Yield a provider that answers on a free port; `localhost` is another site than `127.0.0.1` for a browser."""
    double = OidcDouble("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlparse(self.path)
            if parts.path == "/authorize":
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self._answer(302, b"", {"location": double.authorize(asked)})
                return
            found = {"/.well-known/openid-configuration": double.describe, "/keys": double.keys}.get(parts.path)
            self._answer(200 if found else 404, json.dumps(found() if found else {}).encode(), {"content-type": "application/json"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            sent = {name: values[0] for name, values in parse_qs(body).items()}
            told = double.exchange(sent, self.headers.get("authorization", ""))
            self._answer(400 if "error" in told else 200, json.dumps(told).encode(), {"content-type": "application/json"})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    double.issuer = f"http://{host}:{server.server_port}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
