"""The helper process for chat and token counts: `python -m tunesmith.inference.host`. JSON lines in and out; ends at end of input."""

from __future__ import annotations

import dataclasses
import logging
import os
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tunesmith.errors import UserError
from tunesmith.models.blas import prepare_worker

logger = logging.getLogger("tunesmith.host")
Request = dict[str, Any]


class Host:
    """Answers one request after the other, all MLX work on the main thread; cancellations arrive in between."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._bank: Any = None
        self._bank_stamp: tuple[Any, ...] = ()
        self.cancelled: set[int] = set()

    def answer(self, request: Request) -> None:
        """Do one request and say how it ended."""
        number = request["id"]
        work = {"stream": self._stream, "count_tokens": self._count_tokens, "xray": self._xray, "sample": self._sample}[request["op"]]
        try:
            if number not in self.cancelled:  # else nobody waits any more: load no model for it
                work(request)
            self._say(number, done=True)
        except UserError as error:
            self._say(number, error=error.as_record())
        except Exception as error:  # the host serves on; the page words it
            logger.exception("a request failed")
            self._say(number, error=UserError("host_failed", kind=type(error).__name__, reason=str(error)[:300]).as_record())
        finally:
            self.cancelled.discard(number)

    def _say(self, number: int, **content: Any) -> None:
        self._out.write(orjson.dumps({"id": number, **content}) + b"\n")
        self._out.flush()

    def _stream(self, request: Request) -> None:
        from tunesmith.inference.comparison import compare, write_prompts
        from tunesmith.inference.sampling import Sampling

        bank = self._open_bank(Path(request["model"]))
        variants = _wear(bank, request["asked"])
        prompts = write_prompts(bank.base.tokenizer, variants)
        sent = [{"text": bank.base.tokenizer.decode(ids, clean_up_tokenization_spaces=False), "tokens": len(ids)} for ids in prompts]
        self._say(request["id"], sent=sent)
        for delta in compare(bank, variants, (), Sampling(**request["sampling"])):
            if request["id"] in self.cancelled:
                return
            self._say(request["id"], delta=dataclasses.asdict(delta))

    def _open_bank(self, path: Path) -> Any:
        from tunesmith.inference.adapter_bank import AdapterBank
        from tunesmith.models.loading import load_model

        stamp = (path, *((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in sorted(path.glob("*.safetensors"))))
        if stamp != self._bank_stamp:
            self._bank, self._bank_stamp = None, ()  # give the old base back first
            self._bank = AdapterBank(load_model(path))
            self._bank.base.model.eval()
            self._bank_stamp = stamp
        return self._bank

    def _count_tokens(self, request: Request) -> None:
        from tunesmith.data.batching import BatchRules
        from tunesmith.data.counting import COUNTS
        from tunesmith.models.loading import load_tokenizer

        tokenizer = load_tokenizer(Path(request["model"]))
        count = COUNTS[request["family"]]
        batching = BatchRules(**request["batching"])
        report = count(Path(request["data"]), request["kinds"], tokenizer, request["rules"], batching, request["length"])
        self._say(request["id"], report=report)

    def _sample(self, request: Request) -> None:
        """Write several answers to each of a few prompts, for a look at them before a run."""
        import mlx.core as mx

        from tunesmith.data.templates import render
        from tunesmith.inference.batch_generation import Abandoned, Drawing, generate_groups
        from tunesmith.models.adapter_files import read_template

        bank = self._open_bank(Path(request["model"]))
        adapter = Path(request["adapter"]) if request["adapter"] else None
        bank.activate(bank.load(adapter) if adapter else None)
        template = request["template"] or (read_template(adapter) if adapter else None)
        tokenizer, stops = bank.base.tokenizer, sorted(bank.base.tokenizer.eos_token_ids)
        prompts = [render(tokenizer, messages, answer_next=True, template=template) for messages in request["conversations"]]
        mx.random.seed(request["seed"])
        try:
            groups = generate_groups(
                bank.base.model, prompts, request["count"], stops, Drawing(**request["drawing"]), lambda: request["id"] in self.cancelled
            )
        except Abandoned:
            return
        samples = [[_as_sample(tokenizer, answer) for answer in group] for group in groups]
        self._say(request["id"], samples=samples)

    def _xray(self, request: Request) -> None:
        from tunesmith.data.templates import encode_row
        from tunesmith.models.loading import load_tokenizer

        tokenizer = load_tokenizer(Path(request["model"]))
        encoded = encode_row(request["row"], tokenizer, request["loss_on"], request["template"])
        detokenizer = tokenizer.detokenizer
        detokenizer.reset()
        tokens = []
        for place, token in enumerate(encoded.ids[: request["most"]]):
            detokenizer.add_token(token)
            cut = place >= request["longest"]
            text = detokenizer.last_segment or (tokenizer.convert_ids_to_tokens(token) if token in tokenizer.all_special_ids else "")
            tokens.append((text, token, "cut" if cut else "learned" if encoded.supervised[place] else "context"))
        self._say(request["id"], tokens=tokens, total=len(encoded.ids), ends=encoded.learns_to_end(tokenizer.eos_token_id))


def _wear(bank: Any, asked: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the variants of a request; an adapter that is asked at several strengths is read once."""
    from tunesmith.inference.comparison import Variant
    from tunesmith.models.adapter_files import read_template

    paths = list(dict.fromkeys(Path(each["adapter"]) for each in asked if each["adapter"]))
    adapters = {str(path): bank.load(path) for path in paths}
    templates = {str(path): read_template(path) for path in paths}
    # a base that has learned no format gets the tuned model's
    own = None if bank.base.tokenizer.chat_template else next(filter(None, templates.values()), None)
    return [
        Variant(adapters.get(each["adapter"]), each["strength"], templates.get(each["adapter"]) or own, each["seed"], each["messages"])
        for each in asked
    ]


def _as_sample(tokenizer: Any, answer: Any) -> dict[str, Any]:
    ended = answer.ids and answer.ids[-1] in tokenizer.eos_token_ids
    text = tokenizer.decode(answer.ids[:-1] if ended else answer.ids)
    return {"text": text, "tokens": len(answer.ids), "truncated": answer.truncated}


def read_requests(host: Host, waiting: queue.SimpleQueue[Request]) -> None:
    """Put requests in the queue, note cancellations at once; at the end of input, end the process."""
    for line in sys.stdin.buffer:
        request = orjson.loads(line)
        if request["op"] == "cancel":
            host.cancelled.add(request["id"])
        else:
            waiting.put(request)
    os._exit(0)


def main() -> None:
    """Serve until the input ends; whatever prints goes to the log, only answers to our output."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    prepare_worker()
    host, waiting = Host(out), queue.SimpleQueue[Request]()
    threading.Thread(target=read_requests, args=(host, waiting), daemon=True).start()
    while True:
        host.answer(waiting.get())


if __name__ == "__main__":
    main()
