"""A page that was left is not drawn any more, whatever a part of it asked for while it was left. Over the websocket, as a browser asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

from tests.e2e.conftest import Server, serving
from tunesmith.i18n.catalog import t

WHOLE, PART = ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY
QUIET_SECONDS = 1.5


@dataclass
class Tab:
    """What a browser's tab sends and hears."""

    socket: ClientConnection
    pages: list[str] = field(default_factory=list)  # each page that was begun
    demo: str = ""  # the button's id
    part: str = ""  # a part of the page that is drawn anew by itself

    def ask(self, part: str = "", pressed: str = "") -> None:
        """Ask for the page that was begun last, or a part of it, or press a button on it."""
        message = BackMsg()
        wanted = message.rerun_script
        wanted.query_string, wanted.page_script_hash, wanted.fragment_id = "lang=en", self.pages[-1] if self.pages else "", part
        if pressed:
            state = wanted.widget_states.widgets.add()
            state.id, state.trigger_value = pressed, True
        self.socket.send(message.SerializeToString())

    def hear(self, enough: Callable[[ForwardMsg], bool], seconds: float = 60.0) -> None:
        """Hear what the server says until it is `enough`. Raises TimeoutError."""
        while True:
            message = ForwardMsg.FromString(self.socket.recv(seconds))  # type: ignore[arg-type]
            self._note(message)
            if enough(message):
                return

    def _note(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "navigation":  # the first page is begun as none in particular
            self.pages.append(message.navigation.page_script_hash)
        elif kind == "delta" and message.delta.new_element.WhichOneof("type") == "button":
            button = message.delta.new_element.button
            self.demo = button.id if button.label == t("home.demo_button") else self.demo
        elif kind == "delta" and message.delta.new_element.WhichOneof("type") == "bidi_component":
            self.part = message.delta.fragment_id or self.part


def ends(how: int) -> Callable[[ForwardMsg], bool]:
    return lambda message: message.WhichOneof("type") == "script_finished" and message.script_finished == how


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("left")) as opened:
        yield opened


def test_a_part_that_asks_while_its_page_is_left_does_not_empty_the_next_one(server: Server) -> None:
    host = f"127.0.0.1:{server.port}"
    with connect(f"ws://{host}/_stcore/stream", origin=f"http://{host}", subprotocols=["streamlit"], max_size=None) as socket:  # type: ignore[call-overload]
        tab = Tab(socket)
        tab.ask()
        tab.hear(ends(WHOLE))
        home = tab.pages[-1]
        tab.ask(part=tab.part)
        tab.hear(ends(PART))  # a page that is there has its parts drawn

        tab.ask(pressed=tab.demo)
        tab.hear(lambda message: message.WhichOneof("type") == "new_session")
        tab.hear(lambda message: message.WhichOneof("type") == "new_session" and message.new_session.page_script_hash != home)
        left = Tab(socket, [home])
        left.ask(part=tab.part)  # by a browser that has not heard of the next page yet
        tab.hear(ends(WHOLE))
        assert tab.pages[-1] != home
        with pytest.raises(TimeoutError):
            tab.hear(lambda message: message.WhichOneof("type") == "new_session", QUIET_SECONDS)
