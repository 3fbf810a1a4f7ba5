"""Titles in a list are told apart by their words alone."""

from __future__ import annotations

from tunesmith.i18n.titles import tell_apart


def test_only_those_alike_are_marked() -> None:
    assert tell_apart({"a": "x", "b": "x", "c": "y"}, lambda key: f" ({key})") == {"a": "x (a)", "b": "x (b)", "c": "y"}


def test_each_mark_is_given_where_the_one_before_was_not_enough() -> None:
    times = {"a1": " · today", "b2": " · today", "c3": " · before", "d4": " · today"}
    told = tell_apart({"a1": "x", "b2": "x", "c3": "x", "d4": "y"}, times.__getitem__, lambda key: f" ({key[-1]})")
    assert told == {"a1": "x · today (1)", "b2": "x · today (2)", "c3": "x · before", "d4": "y"}
