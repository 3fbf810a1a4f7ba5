"""Executes the part of Go's text/template that our templates for Ollama use, on what Ollama fills in. tests/parity compares it with Go."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

ACTION = re.compile(r'\{\{((?:"(?:\\.|[^"\\])*"|[^"])*?)\}\}')
TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\$?\.\w+|\$\w*|:=|=|,|\(|\)|\w+')


class GoTemplateError(ValueError):
    """What Go would refuse."""


@dataclass
class Node:
    """`kind` is text, show, set, declare, if or range; an if has (condition, nodes) branches, the last condition may be empty."""

    kind: str
    text: str = ""
    tokens: list[str] = field(default_factory=list)
    branches: list[tuple[list[str], list[Node]]] = field(default_factory=list)


def execute(template: str, messages: Sequence[dict[str, str]]) -> str:
    """Return what Ollama's templates write of a conversation: neighbours of one role joined, all system messages as `.System`."""
    joined: list[dict[str, str]] = []
    for message in messages:
        if joined and joined[-1]["Role"] == message["role"]:
            joined[-1]["Content"] += "\n\n" + message["content"]
        else:
            joined.append({"Role": message["role"], "Content": message["content"]})
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    root = {"Messages": joined, "System": system}
    scopes: list[dict[str, Any]] = [{"$": root}]
    return _run(parse(template), root, scopes)


def parse(template: str) -> list[Node]:
    """Return a template's nodes. Raises GoTemplateError."""
    pieces: list[Node | list[str]] = []
    end = 0
    for found in ACTION.finditer(template):
        pieces += [Node("text", template[end : found.start()]), TOKEN.findall(found[1])]
        end = found.end()
    if "{{" in template[end:]:
        raise GoTemplateError("unclosed action")
    pieces.append(Node("text", template[end:]))
    nodes, rest, closer = _block(pieces)
    if closer or rest:
        raise GoTemplateError(f"unexpected {closer}")
    return nodes


def _block(pieces: list[Any]) -> tuple[list[Node], list[Any], list[str]]:
    """Return the nodes up to an else or end, what is left, and that closer."""
    nodes: list[Node] = []
    while pieces:
        piece, pieces = pieces[0], pieces[1:]
        if isinstance(piece, Node):
            nodes.append(piece)
        elif not piece:
            raise GoTemplateError("missing value")
        elif piece[0] in {"else", "end"}:
            return nodes, pieces, piece
        elif piece[0] in {"if", "range"}:
            branches, tokens, closer = [], piece[1:], ["else"]
            while closer[0] != "end":
                inside, pieces, closer = _block(pieces)
                branches.append((tokens, inside))
                if not closer:
                    raise GoTemplateError("missing end")
                tokens = closer[2:]
            nodes.append(Node(piece[0], branches=branches))
        elif len(piece) > 1 and piece[1] in {":=", "="}:
            nodes.append(Node("declare" if piece[1] == ":=" else "set", piece[0], piece[2:]))
        else:
            nodes.append(Node("show", tokens=piece))
    return nodes, [], []


def _run(nodes: list[Node], dot: Any, scopes: list[dict[str, Any]]) -> str:
    written = ""
    for node in nodes:
        if node.kind == "text":
            written += node.text
        elif node.kind == "show":
            written += str(_value(node.tokens, dot, scopes))
        elif node.kind == "declare":
            scopes[-1][node.text] = _value(node.tokens, dot, scopes)
        elif node.kind == "set":
            next(scope for scope in reversed(scopes) if node.text in scope)[node.text] = _value(node.tokens, dot, scopes)
        elif node.kind == "if":
            for condition, inside in node.branches:
                if not condition or _value(condition, dot, scopes):
                    written += _run(inside, dot, [*scopes, {}])
                    break
        else:
            tokens, inside = node.branches[0]  # $i, $_ := .Messages
            for number, item in enumerate(_value(tokens[4:], dot, scopes)):
                written += _run(inside, item, [*scopes, {tokens[0]: number, tokens[2]: item}])
    return written


def _value(tokens: list[str], dot: Any, scopes: list[dict[str, Any]]) -> Any:
    values, rest = [], list(tokens)
    while rest:
        token = rest.pop(0)
        if token == "(":
            depth, inner = 1, []
            while depth:
                inner.append(rest.pop(0))
                depth += {"(": 1, ")": -1}.get(inner[-1], 0)
            values.append(_value(inner[:-1], dot, scopes))
        else:
            values.append(_operand(token, dot, scopes))
    if not callable(values[0]):
        if len(values) > 1:
            raise GoTemplateError(f"{tokens[0]} is no function")
        return values[0]
    return values[0](*values[1:])


def _operand(token: str, dot: Any, scopes: list[dict[str, Any]]) -> Any:
    if token[0] == '"':
        return json.loads(token)
    if token.isdigit():
        return int(token)
    if token.startswith("$."):
        return scopes[0]["$"][token[2:]]
    if token[0] == ".":
        return dot[token[1:]]
    if token[0] == "$":
        for scope in reversed(scopes):
            if token in scope:
                return scope[token]
        raise GoTemplateError(f"undefined variable {token}")
    functions = {
        "true": True, "false": False, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "not": lambda a: not a,
        "and": lambda a, b: a and b, "or": lambda a, b: a or b, "len": len, "slice": lambda a, i: a[i:],
    }  # fmt: skip
    if token not in functions:
        raise GoTemplateError(f"function {token} not defined")
    return functions[token]
