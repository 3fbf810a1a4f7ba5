"""Many questions to one endpoint, several at a time; each answer is told as it comes. Knows no questions' meaning."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence

from tunesmith.errors import UserError
from tunesmith.system.endpoint import EndpointClient, Reply
from tunesmith.system.progress import silent

TELL_SECONDS = 0.2
Messages = Sequence[dict[str, str]]
Ask = Callable[[EndpointClient, Messages], Reply]
Answer = tuple[int, Reply | UserError]


def ask_each(
    open_client: Callable[[], EndpointClient], questions: Sequence[Messages], temperature: float, max_tokens: int, at_once: int,
    tell: Callable[[], object] = silent,
) -> Iterator[Answer]:  # fmt: skip
    """Yield (a question's place, its answer or why there is none) as they come; each of `at_once` threads has a client of its own.

    No question is asked before the answer `at_once` places earlier was dealt with: a kill loses no more. The threads are daemons, so
    that a slow answer holds up no end. `tell` is called while there is nothing new, and may raise to end the asking.
    """
    crowd = _Crowd(open_client, questions, lambda client, messages: client.ask(messages, temperature, max_tokens), at_once)
    try:
        for _ in questions:
            yield crowd.next_answer(tell)
            crowd.room.release()
    finally:
        crowd.ended.set()


class _Crowd:
    """The threads that ask, and what they share."""

    def __init__(self, open_client: Callable[[], EndpointClient], questions: Sequence[Messages], ask: Ask, at_once: int) -> None:
        self._open_client, self._questions, self._ask = open_client, questions, ask
        self._waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._answered: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.ended, self.room = threading.Event(), threading.Semaphore(at_once)
        for place in range(len(questions)):
            self._waiting.put(place)
        count = min(at_once, len(questions))
        self._threads = [threading.Thread(target=self._work, name="tunesmith-asking", daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        client = self._open_client()
        while (place := self._next_place()) is not None:
            try:
                self._answered.put((place, self._ask(client, self._questions[place])))
            except UserError as error:
                self._answered.put((place, error))

    def _next_place(self) -> int | None:
        while not self.room.acquire(timeout=TELL_SECONDS):
            if self.ended.is_set():
                return None
        if self.ended.is_set():
            return None
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None

    def next_answer(self, tell: Callable[[], object]) -> Answer:
        """Wait for an answer. Raises RuntimeError when nobody asks any more."""
        while True:
            try:
                return self._answered.get(timeout=TELL_SECONDS)
            except queue.Empty:
                tell()
            if self._answered.empty() and not any(thread.is_alive() for thread in self._threads):
                raise RuntimeError("the threads that ask died; the log says why")
