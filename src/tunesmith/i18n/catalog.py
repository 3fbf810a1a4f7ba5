"""Words of the app: `t(key, lang, **values)` over flat catalogues. Knows languages, not pages and not the browser."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError

LANGUAGES = ("en", "ja")
PSEUDO = "xx"  # wraps every word in ⟪⟫: a test finds what was not translated
_FOLDER = Path(__file__).parent


@functools.cache
def load_catalogue(lang: str) -> dict[str, str]:
    """Return a language's words by dotted key."""
    text = (_FOLDER / f"{lang}.toml").read_text(encoding="utf-8")
    return dict(_flatten("", tomllib.loads(text)))


def _flatten(prefix: str, table: dict[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in table.items():
        key = f"{prefix}.{name}" if prefix else name
        pairs += _flatten(key, value) if isinstance(value, dict) else [(key, str(value))]
    return pairs


def t(key: str, /, lang: str = "en", **values: object) -> str:
    """Return the words of a key in a language, its placeholders filled. Raises KeyError for a key that is not there."""
    words = load_catalogue("en" if lang == PSEUDO else lang)[key]
    filled = words.format(**values) if values else words
    return f"⟪{filled}⟫" if lang == PSEUDO else filled


def has(key: str) -> bool:
    """Return whether the catalogue has a key."""
    return key in load_catalogue("en")


def field_words(owner: str, field: dataclasses.Field[Any], lang: str) -> tuple[str, str]:
    """Return (label, help) of a setting: English stands beside the field, other languages in their catalogue."""
    label, help_text = field.metadata["label"], field.metadata["help"]
    if lang == PSEUDO:
        return f"⟪{label}⟫", f"⟪{help_text}⟫"
    if lang == "en":
        return label, help_text
    words = load_catalogue(lang)
    return words[f"field.{owner}.{field.name}.label"], words[f"field.{owner}.{field.name}.help"]


def accepted_language(accept: str) -> str:
    """Return the language of a browser or a program by the first that it says it accepts."""
    return "ja" if accept.strip().lower().startswith("ja") else "en"


def error_words(code: str, facts: dict[str, Any], lang: str) -> str:
    """Return the sentence for a person's error: what, where, what to do.

    An unknown code is told as it is, and so is one without its facts: runs of other versions and other people are read too.
    """
    if not has(f"error.{code}"):
        return t("error.unknown", lang, code=code)
    try:
        return t(f"error.{code}", lang, **{name: _show(name, value, lang) for name, value in facts.items()})
    except (KeyError, IndexError, ValueError, TypeError):
        return t("error.unknown", lang, code=code)


def error_record(error: UserError, lang: str) -> dict[str, Any]:
    """Return an error as programs get it: its code, its facts, and the sentence as `message`."""
    return {"error": error.as_record() | {"message": error_words(error.code, error.facts, lang)}}


def problem_words(code: str, facts: dict[str, Any], lang: str) -> str:
    """Return the sentence for a problem in a row."""
    return t(f"problem.{code}", lang, **{name: _show(name, value, lang) for name, value in facts.items()})


def _show(name: str, value: Any, lang: str) -> Any:
    if name.endswith("_bytes"):
        return format_bytes(float(value))
    if name == "first_code":
        return t(f"problem_name.{value}", lang)
    if name in {"kind", "role"} and has(f"{name}.{value}"):
        return t(f"{name}.{value}", lang)
    return value


def format_bytes(count: float) -> str:
    """Return a size in decimal units, three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:  # more is shown as 1000 of three digits
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB" if abs(count) < 999.5 else f"{count:,.0f} TB"
