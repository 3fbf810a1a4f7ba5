"""llama.cpp's C library through ctypes: cut text, answer greedily, quantise. Loaded in a child process only. Knows no MLX, no GGUF.

Its structs change from version to version. Only their first fields, which have kept their places, are touched: the structs are declared
longer than any version's, so that one passed or returned by value holds all of it on x86-64 and on arm64. Source: llama.h.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int8, c_int32, c_uint8, c_uint32, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

Logits = np.ndarray[Any, np.dtype[np.float32]]
LIBRARY = re.compile(r"libllama(\.[\w.-]+)?\.(so|dylib)(\.\d+)*$")
VARIANTS = "libggml-cpu-*"  # one per kind of processor: the library picks one when it is told where they lie
ERROR_LEVEL = 4
QUANTIZATIONS = {
    "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18,
    "Q4_0": 2, "Q5_0": 8, "Q8_0": 7, "IQ4_NL": 25, "IQ4_XS": 30,
}  # fmt: skip
_ROOM = 1000  # bytes behind the fields that are touched


class LlamaCppError(Exception):
    """llama.cpp refused; the text is its own."""


class _ModelParams(ctypes.Structure):
    _fields_ = [("rest", c_uint8 * _ROOM)]


class _ContextParams(ctypes.Structure):
    _fields_ = [("n_ctx", c_uint32), ("rest", c_uint8 * _ROOM)]


class _QuantizeParams(ctypes.Structure):
    _fields_ = [("nthread", c_int32), ("ftype", c_int32), ("rest", c_uint8 * _ROOM)]


class _Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", c_int32), ("token", POINTER(c_int32)), ("embd", POINTER(c_float)), ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)), ("seq_id", POINTER(POINTER(c_int32))), ("logits", POINTER(c_int8)),
    ]  # fmt: skip


_LOG = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {  # name -> (what it returns, what it takes)
    "llama_backend_init": (None, []),
    "llama_log_set": (None, [_LOG, c_void_p]),
    "llama_model_default_params": (_ModelParams, []),
    "llama_context_default_params": (_ContextParams, []),
    "llama_model_quantize_default_params": (_QuantizeParams, []),
    "llama_model_quantize": (c_uint32, [c_char_p, c_char_p, POINTER(_QuantizeParams)]),
    "llama_model_load_from_file": (c_void_p, [c_char_p, _ModelParams]),
    "llama_init_from_model": (c_void_p, [c_void_p, _ContextParams]),
    "llama_n_ctx": (c_uint32, [c_void_p]),
    "llama_set_n_threads": (None, [c_void_p, c_int32, c_int32]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
    "llama_vocab_is_eog": (c_bool, [c_void_p, c_int32]),
    "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
    "llama_batch_get_one": (_Batch, [POINTER(c_int32), c_int32]),
    "llama_decode": (c_int32, [c_void_p, _Batch]),
    "llama_get_logits_ith": (POINTER(c_float), [c_void_p, c_int32]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_clear": (None, [c_void_p, c_bool]),
    "llama_adapter_lora_init": (c_void_p, [c_void_p, c_char_p]),
    "llama_set_adapters_lora": (c_int32, [c_void_p, POINTER(c_void_p), ctypes.c_size_t, POINTER(c_float)]),
    "llama_set_adapter_lora": (c_int32, [c_void_p, c_void_p, c_float]),
    "llama_version": (c_char_p, []),
}


class LlamaCpp:
    """The library of a folder. Raises LlamaCppError when there is none or it cannot be loaded."""

    def __init__(self, folder: Path) -> None:
        self._errors: list[str] = []
        path = library_in(folder)
        if path is None:
            raise LlamaCppError(f"libllama: {folder}")
        try:
            self._handle = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise LlamaCppError(str(error)) from error
        self._keep = _LOG(lambda level, text, _: self._errors.append(text.decode(errors="replace")) if level == ERROR_LEVEL else None)
        self.call("llama_log_set", self._keep, None)
        self._load_backends(path.parent)
        self.call("llama_backend_init")

    def _load_backends(self, folder: Path) -> None:
        if any(folder.glob(VARIANTS)):
            load = self._handle.ggml_backend_load_all_from_path
            load.argtypes, load.restype = [c_char_p], None
            load(os.fsencode(folder))
        elif hasattr(self._handle, "ggml_backend_load_all"):
            self._handle.ggml_backend_load_all()

    def has(self, name: str) -> bool:
        """Return whether this version has a function."""
        return hasattr(self._handle, name)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the table above."""
        if not self.has(name):
            raise LlamaCppError(name)
        function = getattr(self._handle, name)
        function.restype, function.argtypes = _FUNCTIONS[name]
        return function(*arguments)

    def version(self) -> str:
        """Return the version, empty where the library does not tell it."""
        return str(self.call("llama_version").decode()) if self.has("llama_version") else ""

    def refuse(self, what: str) -> LlamaCppError:
        """Return the error that llama.cpp logged last."""
        return LlamaCppError(" ".join("".join(self._errors[-3:]).split())[-300:] or what)

    def quantize(self, source: Path, target: Path, kind: str, threads: int) -> None:
        """Write a file in fewer bits; `kind` is a key of QUANTIZATIONS."""
        params = self.call("llama_model_quantize_default_params")
        params.nthread, params.ftype = threads, QUANTIZATIONS[kind]
        if self.call("llama_model_quantize", os.fsencode(source), os.fsencode(target), ctypes.byref(params)) != 0:
            raise self.refuse("llama_model_quantize")


class LoadedGguf:
    """A GGUF file in llama.cpp, with an adapter if there is one. Its own context is `context_tokens` long."""

    def __init__(self, library: LlamaCpp, path: Path, context_tokens: int, threads: int, adapter: Path | None = None) -> None:
        self._library = library
        self._model = library.call("llama_model_load_from_file", os.fsencode(path), library.call("llama_model_default_params"))
        if not self._model:
            raise library.refuse("llama_model_load_from_file")
        params = library.call("llama_context_default_params")
        params.n_ctx = context_tokens
        self._context = library.call("llama_init_from_model", self._model, params)
        if not self._context or library.call("llama_n_ctx", self._context) < context_tokens:
            raise library.refuse("llama_init_from_model")
        library.call("llama_set_n_threads", self._context, threads, threads)
        self._vocabulary = library.call("llama_model_get_vocab", self._model)
        self.size = int(library.call("llama_vocab_n_tokens", self._vocabulary))
        if adapter is not None:
            self._apply(adapter)

    def _apply(self, path: Path) -> None:
        adapter = self._library.call("llama_adapter_lora_init", self._model, os.fsencode(path))
        if not adapter:
            raise self._library.refuse("llama_adapter_lora_init")
        if self._library.has("llama_set_adapters_lora"):
            status = self._library.call("llama_set_adapters_lora", self._context, (c_void_p * 1)(adapter), 1, (c_float * 1)(1.0))
        else:  # before 2026
            status = self._library.call("llama_set_adapter_lora", self._context, adapter, 1.0)
        if status != 0:
            raise self._library.refuse("llama_set_adapter_lora")

    def tokenize(self, text: str) -> list[int]:
        """Return a text's ids, special tokens read as such, the beginning added where the file says so."""
        data = text.encode()
        room = len(data) + 8
        ids = (c_int32 * room)()
        count = self._library.call("llama_tokenize", self._vocabulary, data, len(data), ids, room, True, True)
        if count < 0:
            raise self._library.refuse("llama_tokenize")
        return list(ids[:count])

    def ends(self) -> list[int]:
        """Return all ids that end an answer."""
        return [number for number in range(self.size) if self._library.call("llama_vocab_is_eog", self._vocabulary, number)]

    def answer(self, prompt: Sequence[int], tokens: int) -> tuple[list[int], Logits]:
        """Return the likeliest next token, again and again, the end included; and the prompt's logits [T, V]."""
        self._library.call("llama_memory_clear", self._library.call("llama_get_memory", self._context), True)
        seen = np.stack([self._decode(number) for number in prompt])
        answer = [int(seen[-1].argmax())]
        while len(answer) < tokens and not self._library.call("llama_vocab_is_eog", self._vocabulary, answer[-1]):
            answer.append(int(self._decode(answer[-1]).argmax()))
        return answer, seen

    def _decode(self, number: int) -> Logits:
        ids = (c_int32 * 1)(number)  # the batch only points to it
        if self._library.call("llama_decode", self._context, self._library.call("llama_batch_get_one", ids, 1)) != 0:
            raise self._library.refuse("llama_decode")
        return np.ctypeslib.as_array(self._library.call("llama_get_logits_ith", self._context, -1), (self.size,)).copy()


def library_in(folder: Path) -> Path | None:
    """Return the library's file in a folder, None when there is none."""
    return next((path for path in sorted(folder.glob("libllama*")) if LIBRARY.fullmatch(path.name)), None) if folder.is_dir() else None
