"""The identity provider by which people may sign in: set, show, remove. Knows no protocol."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from tunesmith.access.people import ROLES
from tunesmith.access.provider import Provider, ProviderFile
from tunesmith.access.sign_in import CALLBACK
from tunesmith.cli_output import Json, open_services, read_secret, report
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import t
from tunesmith.services import people

app = typer.Typer(no_args_is_help=True, help="Signing in by an identity provider (OpenID Connect).")
_ROLES = ", ".join(ROLES)


@app.command(name="set")
def set_provider(
    issuer: Annotated[str | None, typer.Option(help="The provider's address, as its discovery document names it.")] = None,
    client_id: Annotated[str | None, typer.Option(help="What this server is called there.")] = None,
    address: Annotated[str | None, typer.Option(help="This server's address as browsers open it, e.g. http://studio.local:8501.")] = None,
    role: Annotated[list[str] | None, typer.Option(help=f"WHO=ROLE; WHO is an e-mail address or @domain, ROLE one of {_ROLES}.")] = None,
    default_role: Annotated[str | None, typer.Option(help="The role of everybody else there; by default they stay outside.")] = None,
    codes: Annotated[bool | None, typer.Option("--codes/--no-codes", help="Whether the codes open the door too.")] = None,
    trust_emails: Annotated[
        bool | None, typer.Option("--trust-emails/--verified-emails", help="Whether addresses count that are not said to be verified.")
    ] = None,
    new_secret: Annotated[bool, typer.Option("--new-secret", help="Ask for the client's secret anew.")] = False,
    json: Json = False,
) -> None:
    """Sign people in by a provider; what is not given stays as it is. The client's secret is asked for. Everybody enters again."""
    known = ProviderFile().open() or Provider("", "", "", "")
    given: dict[str, Any] = {
        "issuer": issuer, "client_id": client_id, "address": address.rstrip("/") if address else None, "default_role": default_role,
        "codes": codes, "trust_emails": trust_emails, "roles": dict(map(_split, role)) if role else None,
    }  # fmt: skip
    secret = read_secret(t("cli.oidc_secret", "en")) if new_secret or not known.client_secret else known.client_secret
    provider = dataclasses.replace(known, client_secret=secret, **{name: value for name, value in given.items() if value is not None})
    with open_services() as services:
        people.keep_provider(services, provider)
    report(_plain(provider), json, _describe(provider))


def _split(text: str) -> tuple[str, str]:
    who, equals, role = text.rpartition("=")
    if not equals or not who:
        raise UserError("oidc_person_wrong", who=text)
    return who.strip().casefold(), role.strip()


def _plain(provider: Provider) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(provider).items() if name != "client_secret"}


def _describe(provider: Provider) -> str:
    roles = "".join(f"  {who} → {role}\n" for who, role in provider.roles.items())
    others = provider.default_role or "–"
    return t(
        "cli.oidc", "en", issuer=provider.issuer, client=provider.client_id, redirect=provider.address + CALLBACK, roles=roles,
        others=others, codes="✓" if provider.codes else "–",
    )  # fmt: skip


@app.command(name="show")
def show_provider(json: Json = False) -> None:
    """Show the provider, without the secret, and the address to register there."""
    provider = ProviderFile().open()
    report(_plain(provider) if provider else None, json, _describe(provider) if provider else t("cli.oidc_none", "en"))


@app.command(name="remove")
def remove_provider(json: Json = False) -> None:
    """Forget the provider; the codes open the door again, and everybody enters again."""
    with open_services() as services:
        removed = people.remove_provider(services)
    report({"removed": removed}, json, t("cli.oidc_removed" if removed else "cli.oidc_none", "en"))
