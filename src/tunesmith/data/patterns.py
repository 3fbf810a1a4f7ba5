"""What texts should not hold: secrets, addresses of people, broken characters. Fixed shapes only, since a false alarm is costly."""

from __future__ import annotations

import re

# each begins with a mark that its issuer publishes for scanners; passwords and plain hexadecimal digits have none
SECRETS = re.compile(
    r"(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # Amazon
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{60,}|\bglpat-[A-Za-z0-9_-]{20,}"  # GitHub, GitLab
    r"|\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}|\bhf_[A-Za-z]{34}\b"  # model providers
    r"|\bAIza[0-9A-Za-z_-]{35}|\bxox[abprs]-[0-9A-Za-z-]{20,}|\b[sr]k_live_[0-9a-zA-Z]{24,}"  # Google, Slack, Stripe
    r"|\bnpm_[A-Za-z0-9]{36}\b|\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}"  # package indexes
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"  # signed tokens
    r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:[\s\S]{0,8000}?-----END (?:[A-Z]+ )*PRIVATE KEY-----)?"
)
SECRET_MARKS = (
    "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "sk-", "hf_", "AIza", "xox", "k_live_", "npm_",
    "pypi-AgE", "eyJ", "-----BEGIN",
)  # fmt: skip
EMAILS = re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b", re.ASCII)
EXAMPLE_HOSTS = re.compile(r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net|jp)|example|test|invalid|localhost)\b", re.IGNORECASE)
PHONES = re.compile(r"(?<![\d.-])(?:\+\d{1,3}[ -](?:\(?\d{1,4}\)?[ -]){1,4}\d{3,4}|0\d{1,4}-\d{1,4}-\d{4}|\(\d{3}\) \d{3}-\d{4})(?![\d-])")
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff\ufff9-\uffff]")
# UTF-8 read as Shift-JIS or as Windows-1252, and the sign for what could not be read
MOJIBAKE = re.compile(r"\ufffd|(?:[縺繧繝譁][\u3000-\uffff]?){3,}|(?:Ã[\u0080-\u00bf©¨ª¼¶¤]|â€[\u0080-\u2122™œ]|ã[\u0080-\u00bf€-™])")
BOILERPLATE = re.compile(
    r"\bas an? (?:AI|artificial intelligence|large) (?:language )?model\b|\bI(?:'m| am) (?:just )?an AI (?:language model|assistant)\b"
    r"|\bI(?:'m sorry, but I)? (?:cannot|can't) (?:assist|help) with that\b|(?:AI|人工知能)(?:言語モデル|アシスタント)?"
    r"(?:として|であるため|なので)、?(?:私は|お答え|回答)"
    r"|申し訳(?:ありません|ございません)が、(?:AI|私は言語モデル)",
    re.IGNORECASE,
)


BOILERPLATE_MARKS = ("AI", "ai ", "language model", "ith that", "人工知能", "言語モデル")


def find(pattern: re.Pattern[str], text: str, marks: tuple[str, ...]) -> re.Match[str] | None:
    """Search a text that holds one of the marks; looking for these first is ten times faster."""
    return pattern.search(text) if any(mark in text for mark in marks) else None


def find_boilerplate(text: str) -> re.Match[str] | None:
    """Return where an answer speaks of being an AI instead of answering."""
    return find(BOILERPLATE, text, BOILERPLATE_MARKS)


def find_email(text: str) -> str:
    """Return the first address of a person; those that standards set aside for examples (RFC 2606) are none."""
    return next((match[0] for match in EMAILS.finditer(text) if not EXAMPLE_HOSTS.search(match[0])), "")


def mask_emails(text: str) -> str:
    """Return a text with addresses replaced by `[EMAIL]`."""
    return EMAILS.sub(lambda match: match[0] if EXAMPLE_HOSTS.search(match[0]) else "[EMAIL]", text)


def mask_secrets(text: str) -> str:
    """Return a text with secrets replaced by `[SECRET]`."""
    return SECRETS.sub("[SECRET]", text)


def strip_controls(text: str) -> str:
    """Return a text without control and invisible characters; tabs and line breaks stay."""
    return CONTROLS.sub("", text)


def loops(text: str) -> bool:
    """Say whether the end of a long text repeats itself: a piece of 10 to 200 characters, four times or more in a row."""
    if len(text) < 200:
        return False
    end = text[-1000:]
    place = end.rfind(end[-10:], 0, len(end) - 1)
    period = len(end) - 10 - place
    if place < 0 or period > 200 or not end[-period:].strip():
        return False
    size = period * -(-10 // period)  # a short piece counts as the longer one that it makes up
    return len(end) >= 4 * size and all(end[-size:] == end[-(n + 1) * size : -n * size] for n in (1, 2, 3))
