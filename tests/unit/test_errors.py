"""A person's error as a value: kept in caches, stored, told again."""

from __future__ import annotations

import copy
import pickle

from tunesmith.errors import UserError


def test_an_error_survives_a_cache() -> None:
    """The preview keeps its warnings in Streamlit's cache, which pickles them: once, the second drawing of a warning failed."""
    error = UserError("plan_swaps", peak_bytes=5, budget_bytes=4)
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert (again.code, again.facts) == (error.code, error.facts)


def test_a_record_has_plain_facts_only() -> None:
    record = UserError("x", n=1, path=object).as_record()
    assert record == {"code": "x", "facts": {"n": 1, "path": str(object)}}
