"""A round of the arena: prompt, blind answers, vote, reveal. Before the vote nothing drawn here depends on who answered, or how fast."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.services import arena, datasets, prompt_sets
from tunesmith.services.arena import Ballot, Round
from tunesmith.store.votes import ArenaRecord
from tunesmith.ui.answers import as_markdown, draw_question
from tunesmith.ui.arena_standings import draw_running, variant_names
from tunesmith.ui.figures import show_count, show_number
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.session import door, services, t
from tunesmith.ui.training_form import dataset_title
from tunesmith.ui.work_bar import work_bar

ROUND, BALLOT, CAST, NEXT = "arena_round", "arena_ballot", "arena_cast", "arena_next"


def draw_rounds(record: ArenaRecord) -> None:
    """Draw where this session stands in an arena: the prompt, the answers to vote on, or the reveal."""
    person, prompts = _draw_top(record)
    open_round: Round | None = st.session_state.get(ROUND)
    ballot: Ballot | None = st.session_state.get(BALLOT)
    if ballot and ballot.round.arena == record.id:
        _draw_reveal(record, ballot, person)
    elif open_round and open_round.arena == record.id:
        _draw_blind(open_round, person)
    else:
        _draw_prompt(record, person, prompts)


def _draw_top(record: ArenaRecord) -> tuple[str, list[str] | None]:
    """Draw who votes and where prompts come from; return the person, and the prompts to draw from (None: typed)."""
    left, middle, right = st.columns(3, vertical_alignment="bottom")
    entered = services().person.name if door().open_to_network else None  # who came in by a code votes under that name
    person = entered or left.text_input(
        t("arena.person"), key="arena_person", max_chars=arena.LONGEST_PERSON, help=t("arena.person_help"), persist_state="session"
    )
    if entered:
        left.text_input(t("arena.person"), entered, disabled=True, help=t("arena.person_help"))
    sets = {each.id: each for each in prompt_sets.list_sets(services())}
    sources = ("typed", "data", "set") if sets else ("typed", "data")
    source = middle.segmented_control(
        t("arena.source"), sources, default="typed", format_func=lambda name: t(f"arena.source_{name}"), key=f"arena_source-{record.id}",
        help=t("arena.source_help"), required=True, persist_state="session",
    )  # fmt: skip
    if source == "set":
        set_id = right.selectbox(
            t("arena.source_set"), list(sets), format_func=lambda each: sets[each].name, key=f"arena_set-{record.id}",
            persist_state="session",
        )  # fmt: skip
        return person or "", list(sets[set_id].prompts)
    if source != "data":
        return person or "", None
    known = {each.id: each for each in datasets.list_datasets(services()) if each.rows.get("test") or each.rows.get("valid")}
    chosen = right.selectbox(
        t("arena.data"),
        list(known),
        format_func=lambda each: dataset_title(known[each]),
        key=f"arena_data-{record.id}",
        persist_state="session",
    )
    return person or "", arena.prompts_of(services(), chosen) if chosen else []


def _is_closed() -> bool:
    """Whether no votes are taken here: another server is in charge. Viewers vote too."""
    return not services().supervisor.in_charge


def _draw_prompt(record: ArenaRecord, person: str, prompts: Sequence[str] | None) -> None:
    at_once = st.session_state.pop(NEXT, False)
    if prompts is None:
        with st.form("arena_ask", border=False, clear_on_submit=False):
            prompt = st.text_area(t("arena.prompt"), key="arena_prompt", height=90, placeholder=t("arena.prompt_placeholder"))
            asked = st.form_submit_button(t("arena.ask"), type="primary", icon=":material/send:", disabled=_is_closed())
    else:
        ballots = arena.read_ballots(services(), record.id)[0]
        left = arena.open_prompts(prompts, ballots, person)
        st.caption(t("arena.left", left=show_count(len(left)), all=show_count(len(prompts))))
        prompt = arena.draw_prompt(left, (), person) or ""
        asked = st.button(t("arena.ask_next"), type="primary", icon=":material/send:", disabled=not left or _is_closed())
        asked = asked or (at_once and bool(left))
    _draw_take_back(record, person)
    if asked:
        st.button(t("compare.stop"), icon=":material/stop_circle:")  # drawn anew, the page ends the answers
        try:
            with work_bar(t("arena.answering")) as report:
                st.session_state[ROUND] = arena.ask(services(), record.id, prompt, report)
        except UserError as error:
            show_error(error)
        else:
            st.rerun()


def _draw_texts(of: Round, headings: Sequence[str], figures: Sequence[str]) -> None:
    draw_question(of.prompt)
    if of.system:
        st.caption(t("arena.system", text=as_text(of.system)))
    for box, answer, words in zip(_boxes(headings), of.answers, figures, strict=True):
        box.markdown(as_markdown(answer.text.strip()) or f"*{t('compare.silent')}*")
        cut = t("compare.cut") if answer.finish == "length" else ""
        if said := " · ".join(filter(None, (words, cut))):
            box.caption(said)


def _boxes(headings: Sequence[str]) -> list[Any]:
    """Draw a box for each answer: two or three side by side, four in two rows."""
    wide = 3 if len(headings) == 3 else 2
    places = [column for begin in range(0, len(headings), wide) for column in st.columns(wide)[: len(headings) - begin]]
    boxes = [place.container(border=True, height="stretch") for place in places]
    for box, heading in zip(boxes, headings, strict=True):
        box.caption(heading)
    return boxes


def _draw_blind(of: Round, person: str) -> None:
    letters = ascii_uppercase[: len(of.shown)]
    _draw_texts(of, [t("arena.answer", letter=letter) for letter in letters], [""] * len(letters))
    same = len({answer.text.strip() for answer in of.answers}) == 1
    if same:
        st.caption(f":material/equal: {t('arena.all_same')}")
    two = "two" if len(letters) == arena.LEAST_VARIANTS else "many"
    with st.container(horizontal=True, horizontal_alignment="center"):
        for place, letter in enumerate(letters):
            words = t(f"arena.best_{two}", letter=letter)
            if st.button(words, type="primary", key=f"arena-best-{place}", icon=":material/thumb_up:", disabled=same):
                _cast(of, arena.BEST, place, person)
        if st.button(t("arena.tie"), key="arena-tie", icon=":material/balance:"):
            _cast(of, arena.TIE, None, person)
        if st.button(t(f"arena.bad_{two}"), key="arena-bad", icon=":material/thumb_down:"):
            _cast(of, arena.ALL_BAD, None, person)
        if st.button(t("arena.skip"), key="arena-skip", type="tertiary", help=t("arena.skip_help")):
            _go_on(ask=False)


def _cast(of: Round, choice: str, best: int | None, person: str) -> None:
    ballot = arena.vote(services(), of, choice, best, person)
    st.session_state[BALLOT] = ballot
    st.session_state.setdefault(CAST, []).append(ballot)
    st.session_state.pop(ROUND, None)
    st.rerun()


def _go_on(ask: bool) -> None:
    st.session_state.pop(ROUND, None)
    st.session_state.pop(BALLOT, None)
    st.session_state[NEXT] = ask
    st.rerun()


def _draw_reveal(record: ArenaRecord, ballot: Ballot, person: str) -> None:
    names = variant_names(record)
    headings = []
    for place, key in enumerate(ballot.round.shown):
        won = f" :green-badge[:material/thumb_up: {t('arena.chosen')}]" if place == ballot.best else ""
        headings.append(f"{t('arena.answer', letter=ascii_uppercase[place])} · **{as_text(names[key])}**{won}")
    figures = [
        t(
            "compare.figures", tokens=show_count(each.tokens), speed=show_count(each.tokens / each.seconds if each.seconds else 0.0),
            first=show_number(each.first_token_seconds, 2),
        )
        for each in ballot.round.answers
    ]  # fmt: skip
    _draw_texts(ballot.round, headings, figures)
    st.caption(t("arena.together") if ballot.choice == arena.BEST else f"{t(f'arena.said_{ballot.choice}')} {t('arena.together')}")
    with st.container(horizontal=True):
        if st.button(t("arena.next"), type="primary", icon=":material/arrow_forward:"):
            _go_on(ask=True)
        _draw_take_back(record, person)
    draw_running(record)


def _draw_take_back(record: ArenaRecord, person: str) -> None:
    """Offer to take back the last vote that was cast here in this session."""
    cast: list[Ballot] = [ballot for ballot in st.session_state.get(CAST, ()) if ballot.round.arena == record.id]
    if cast and st.button(t("arena.take_back"), icon=":material/undo:", help=t("arena.take_back_help"), disabled=_is_closed()):
        arena.retract(services(), cast[-1], person)
        st.session_state[CAST].remove(cast[-1])
        toast(t("arena.taken_back"))
        _go_on(ask=False)
