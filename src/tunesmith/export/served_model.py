"""One model, with an adapter or without, that answers questions one after the other on a thread of its own. Knows no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.sample_utils import make_sampler
from mlx_lm.utils import maybe_set_recommended_wired_limit

from tunesmith.data.templates import render
from tunesmith.errors import UserError
from tunesmith.export.openai_format import Piece, Question
from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.inference.batch_generation import Abandoned
from tunesmith.inference.stop_strings import StopStrings
from tunesmith.models.adapter_files import read_template
from tunesmith.models.loading import load_model

logger = logging.getLogger("tunesmith.serve")
DEFAULT_TOKENS = 512  # as mlx_lm.server's
MOST_WAITING = 64


class ServedModel:
    """A base model that wears its adapter for good. All calls come from the thread that made it: MLX's streams are a thread's own."""

    def __init__(self, model: Path, adapter: Path | None) -> None:
        self._base = load_model(model)
        self._base.model.eval()
        if adapter:
            bank = AdapterBank(self._base)
            bank.activate(bank.load(adapter))
        self._template = read_template(adapter) if adapter else None
        self._context_tokens = _context_tokens(self._base.config)
        maybe_set_recommended_wired_limit()

    def answer(self, question: Question, abandoned: Callable[[], bool]) -> Iterator[Piece]:
        """Yield an answer; the first piece is empty and comes before the prompt is read.

        Raises UserError `request_too_long`, `request_option_wrong`, `model_without_chat_template`, `template_broken`; Abandoned within
        one token (or 2,048 of the prompt) of the wish.
        """
        tokenizer, prompt = self._base.tokenizer, self._encode(question)
        room = self._context_tokens - len(prompt)
        if room < 1:
            raise UserError("request_too_long", prompt_tokens=len(prompt), longest_tokens=self._context_tokens)
        longest = min(question.max_tokens or DEFAULT_TOKENS, room)
        yield Piece("", len(prompt), 0)
        detokenizer, stops = tokenizer.detokenizer, StopStrings(question.stop)
        if question.kind == "text":  # else the detokenizer drops the space between the prompt and its continuation
            detokenizer.add_token(prompt[-1])
            _ = detokenizer.last_segment
        for count, token in enumerate(self._draw(prompt, longest, question, abandoned), 1):
            finish = "stop" if token in tokenizer.eos_token_ids else "length" if count == longest else ""
            if finish != "stop":
                detokenizer.add_token(token)
            if finish:
                detokenizer.finalize()
            text, stopped = stops.feed(detokenizer.last_segment, last=bool(finish))
            finish = "stop" if stopped else finish
            if text or finish:
                yield Piece(text, len(prompt), count, finish)
            if finish:
                return

    def _encode(self, question: Question) -> list[int]:
        tokenizer = self._base.tokenizer
        if question.kind == "chat":
            return render(tokenizer, question.messages, answer_next=True, template=self._template)
        begun = bool(tokenizer.bos_token) and question.prompt.startswith(tokenizer.bos_token)
        ids = list(tokenizer.encode(question.prompt, add_special_tokens=not begun))
        if not ids:
            raise UserError("request_option_wrong", option="prompt", expected="string")
        return ids

    def _draw(self, prompt: list[int], longest: int, question: Question, abandoned: Callable[[], bool]) -> Iterator[int]:
        def stop_when_abandoned(*_: int) -> None:
            if abandoned():
                raise Abandoned

        mx.random.seed(secrets.randbits(32) if question.seed is None else question.seed % 2**64)
        sampler = make_sampler(temp=question.temperature, top_p=question.top_p if question.top_p < 1 else 0.0)
        steps = generate_step(
            mx.array(prompt), self._base.model, max_tokens=longest, sampler=sampler, prompt_progress_callback=stop_when_abandoned
        )
        for token, _ in steps:
            stop_when_abandoned()
            yield int(token)


def _context_tokens(config: dict[str, Any]) -> int:
    """Return how many tokens the model was made for; without a word of it, any number."""
    told = config.get("max_position_embeddings") or (config.get("text_config") or {}).get("max_position_embeddings")
    return int(told or 2**31)


class Ticket:
    """A question in the line, and the way of its answer's pieces from the model's thread to the event loop."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self._gone = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Piece | UserError | None] = asyncio.Queue()

    def abandon(self) -> None:
        """Nobody waits for the answer any more."""
        self._gone.set()

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits any more."""
        return self._gone.is_set()

    def put(self, piece: Piece | UserError | None) -> None:
        """Hand over a piece, what went wrong, or None for the end."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    async def next(self) -> Piece | None:
        """Return the next piece, None at the end. Raises UserError as `ServedModel.answer`, `host_failed`."""
        piece = await self._pieces.get()
        if isinstance(piece, UserError):
            raise piece
        return piece


class ModelQueue:
    """The line in front of the model: one question at a time, in the order of their coming.

    Opening it loads the model. Raises UserError `model_…`, `adapter_…`.
    """

    def __init__(self, model: Path, adapter: Path | None) -> None:
        self._thread = ThreadPoolExecutor(1, "tunesmith-model")
        self._open: set[Ticket] = set()
        self._closing = threading.Event()
        try:
            self._model = self._thread.submit(ServedModel, model, adapter).result()
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    def ask(self, question: Question) -> Ticket:
        """Put a question into the line; called from the event loop. Raises UserError `server_busy`."""
        if len(self._open) >= MOST_WAITING:
            raise UserError("server_busy", waiting=len(self._open))
        ticket = Ticket(question)
        self._open.add(ticket)
        self._thread.submit(self._answer, ticket)
        return ticket

    def _answer(self, ticket: Ticket) -> None:
        tokens = 0
        try:
            for piece in self._model.answer(ticket.question, lambda: ticket.abandoned or self._closing.is_set()):
                tokens = piece.tokens
                ticket.put(piece)
        except Abandoned:
            logger.info("abandoned after %d tokens", tokens)
        except UserError as error:
            ticket.put(error)
        except Exception as error:  # the server serves on; who asked learns of it
            logger.exception("a request failed")
            ticket.put(UserError("host_failed", kind=type(error).__name__, reason=str(error)[:300]))
        finally:
            self._open.discard(ticket)
            ticket.put(None)

    def close(self) -> None:
        """End the answer that is being written, and the thread."""
        self._closing.set()
        self._thread.shutdown(wait=True, cancel_futures=True)
