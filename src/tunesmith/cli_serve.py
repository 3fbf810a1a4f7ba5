"""Opening the app, on this computer alone or to its network, and the codes that open its door."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from typing import Annotated

import segno
import typer

from tunesmith.access.codes import AccessCodes, AccessFile, make_code
from tunesmith.access.opening import NAMES_VARIABLE, VARIABLE, names_at_start
from tunesmith.access.people import ROLES, TRAINER, VIEWER
from tunesmith.cli_output import Json, open_services, report
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import t
from tunesmith.services import context, people
from tunesmith.system.network import EVERYWHERE, LOOPBACK, lan_address
from tunesmith.system.paths import REPOSITORY

app = typer.Typer(no_args_is_help=True, help="The codes by which others come in when the app is open to the network.")
Role = Annotated[str, typer.Argument(help=f"One of {', '.join(ROLES)}.")]


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise UserError("port_in_use", port=port) from error
            raise UserError("serving_address_wrong", host=host, port=port, reason=error.strerror) from error


def serve(
    port: Annotated[int | None, typer.Option(help="The port; the settings' one by default, or for 0.", min=0, max=65535)] = None,
    lan: Annotated[bool, typer.Option("--lan", help="Open the door to the network; a code is asked for.")] = False,
    name: Annotated[list[str] | None, typer.Option(help="A name or address by which browsers call this computer; may be repeated.")] = None,
) -> None:
    """Open the app in a browser tab on this computer, with --lan for others in the network too."""
    settings = context.load_settings()
    context.open_store(settings)  # what is wrong with the data is said here, in words, before a server begins
    chosen = port or settings.port
    host = EVERYWHERE if lan else LOOPBACK
    _require_free_port(host, chosen)
    names = [*(name or []), *names_at_start()]
    environment = {**os.environ, VARIABLE: "1" if lan else "0", NAMES_VARIABLE: ",".join(names)}
    if lan:
        address = f"http://{names[0] if names else lan_address()}:{chosen}"
        typer.echo(_describe_door(address, AccessFile().open()))
    else:
        typer.echo(t("cli.serving", "en", address=f"http://{LOOPBACK}:{chosen}"))
    command = [
        sys.executable, "-m", "streamlit", "run", str(REPOSITORY / "app.py"), "--server.port", str(chosen),
        "--server.address", host, "--browser.serverAddress", LOOPBACK,
    ]  # fmt: skip
    raise SystemExit(subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode)


def _describe_door(address: str, codes: AccessCodes) -> str:
    """Return what whoever starts the server tells the others: address, QR code of it, codes."""
    code = segno.make(address, error="m")
    rows = ["".join("██" if dark else "  " for dark in row) for row in code.matrix_iter(scale=1, border=2)]
    lines = [t("cli.serving_lan", "en", address=address), "", *_as_half_blocks(rows), "", *_describe_codes(codes)]
    return "\n".join(lines)


def _as_half_blocks(rows: list[str]) -> list[str]:
    """Return a picture of two-character cells in half the lines: a character is two cells, one above the other."""
    shapes = {(" ", " "): "█", ("█", " "): "▄", (" ", "█"): "▀", ("█", "█"): " "}  # light on dark, as most terminals are
    padded = [*rows, " " * len(rows[0])] if len(rows) % 2 else rows
    pairs = zip(padded[::2], padded[1::2], strict=True)
    return ["".join(shapes[above, below] for above, below in zip(top[::2], bottom[::2], strict=True)) for top, bottom in pairs]


def _describe_codes(codes: AccessCodes) -> list[str]:
    return [f"  {role:<8} {codes.codes[role]}   {t(f'role.may_{role}', 'en')}" for role in ROLES]


@app.command(name="show")
def show_codes(json: Json = False) -> None:
    """Show the code of each role."""
    codes = AccessFile().open()
    report(codes.codes, json, "\n".join(_describe_codes(codes)))


@app.command(name="renew")
def renew_code(role: Role = TRAINER, json: Json = False) -> None:
    """Give a role a new code; everybody has to enter again."""
    with open_services() as services:
        people.change_code(services, role, make_code())
    codes = AccessFile().open()
    report(codes.codes, json, "\n".join(_describe_codes(codes)))


@app.command(name="choose")
def choose_code(role: Role = TRAINER, json: Json = False) -> None:
    """Give a role a passphrase of your choice, asked for here; everybody has to enter again."""
    words = typer.prompt(t("cli.passphrase", "en"), hide_input=True, confirmation_prompt=True)
    with open_services() as services:
        people.change_code(services, role, words)
    report({"role": role}, json, t("cli.passphrase_kept", "en", role=role))


@app.command(name="token")
def add_token(
    name: Annotated[str, typer.Argument(help="What the program is called.")],
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")] = VIEWER,
    json: Json = False,
) -> None:
    """Make a token for a program that asks the API; it is shown this once."""
    with open_services() as services:
        token = people.add_token(services, name, role)
    report({"name": name, "role": role, "token": token}, json, t("cli.token", "en", token=token, name=name, role=role))


@app.command(name="drop-token")
def drop_token(name: Annotated[str, typer.Argument(help="What the program is called.")], json: Json = False) -> None:
    """Make a program's tokens worthless."""
    with open_services() as services:
        dropped = people.drop_tokens(services, name)
    report({"name": name, "dropped": dropped}, json, t("cli.tokens_dropped", "en", n=dropped, name=name))
