"""The one error that a person can cause. It knows codes and facts, no prose and no language: `i18n` words it."""

from __future__ import annotations


class UserError(Exception):
    """Something the person at the page or the command line can mend.

    `code` is a key of the catalogue (`error.<code>`), `facts` fill its placeholders (numbers with their unit in the name).
    """

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts = facts

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickle, (self.code, self.facts)  # the pages' caches and other processes keep errors

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self.facts.items())
        return f"{self.code}({facts})"

    def as_record(self) -> dict[str, object]:
        """Return `{code, facts}` for the store; facts that JSON does not know become text."""
        plain = {k: v if isinstance(v, str | int | float | bool) or v is None else str(v) for k, v in self.facts.items()}
        return {"code": self.code, "facts": plain}


def _unpickle(code: str, facts: dict[str, object]) -> UserError:
    return UserError(code, **facts)
