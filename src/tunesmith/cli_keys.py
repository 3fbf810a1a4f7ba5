"""`tunesmith keys …`: the keys of what is asked elsewhere. A key comes by the standard input or a hidden question, never as an argument."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from tunesmith.cli_output import Json, open_services, read_secret, report
from tunesmith.i18n.catalog import t
from tunesmith.services import keys
from tunesmith.services.keys import KnownKey
from tunesmith.system.secrets import check_key_name

app = typer.Typer(no_args_is_help=True, help="Keys for the model hub and endpoints: list them, set one, remove one.")
Name = Annotated[str, typer.Argument(help="The key's name, such as HF_TOKEN or OPENAI_API_KEY.")]


@app.command(name="list")
def list_keys(json: Json = False) -> None:
    """List the known keys: set or not, where from, their last four characters."""
    with open_services() as services:
        found = keys.list_keys(services)
    report([dataclasses.asdict(key) for key in found], json, "\n".join(_line(key) for key in found))


@app.command(name="set")
def set_key(
    name: Name,
    host: Annotated[list[str] | None, typer.Option(help="A host that it may be sent to; several times for several.")] = None,
    json: Json = False,
) -> None:
    """Set a key or replace it: type it when asked, or send it by the standard input."""
    check_key_name(name)
    value = read_secret(t("cli.key", "en"))
    with open_services() as services:
        key = keys.set_key(services, name, value, host)
    report(dataclasses.asdict(key), json, t("cli.key_kept", "en", name=name, place=_places(key)))


@app.command(name="hosts")
def set_hosts(
    name: Name,
    hosts: Annotated[list[str] | None, typer.Argument(help="api.example.com, 127.0.0.1:8080, or .example.com for all below it.")] = None,
    json: Json = False,
) -> None:
    """Choose the hosts that a key may be sent to; without any, the first at which an admin uses it."""
    with open_services() as services:
        key = keys.set_hosts(services, name, hosts or [])
    report(dataclasses.asdict(key), json, _line(key))


@app.command(name="remove")
def remove_key(name: Name, json: Json = False) -> None:
    """Remove a key that was set here."""
    with open_services() as services:
        key = keys.remove_key(services, name)
    report(dataclasses.asdict(key), json, t("cli.key_removed", "en", name=name))


def _line(key: KnownKey) -> str:
    state, end = t("keys.set" if key.is_set else "keys.unset", "en"), f"…{key.last_four}" if key.last_four else ""
    return f"{key.name:<24} {state:<8} {_places(key):<28} {end:<6} {', '.join(key.hosts)}".rstrip()


def _places(key: KnownKey) -> str:
    return " → ".join(t(f"keys.place_{place}", "en") for place in key.places)
