"""The standings of an arena in words, figures and a map of who beats whom; pairs to learn from. Knows votes, not the answers' engine."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.services import arena, arena_results, datasets
from tunesmith.services.arena import Ballot
from tunesmith.services.arena_results import Duel, Standings
from tunesmith.store.votes import ArenaRecord
from tunesmith.system.paths import as_file_name
from tunesmith.ui.downloads import draw_download
from tunesmith.ui.figures import show_count
from tunesmith.ui.frame import go_to
from tunesmith.ui.messages import guarded, show_error, toast
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import start_form_for
from tunesmith.ui.variant_choice import variant_titles
from tunesmith.ui.work_bar import work_bar

Names = dict[str, str]
CELL_PIXELS = 56


def variant_names(record: ArenaRecord) -> Names:
    """Return what the variants of an arena are called, by key; those that are gone keep their name."""
    there = arena.find_available(services(), record)
    gone = {key: t("arena.gone", name=name) for key, name in record.variants.items() if key not in there}
    return variant_titles(list(there.values())) | gone


def draw_running(record: ArenaRecord) -> None:
    """Draw the standings in short: the verdict and the table."""
    ballots, _ = arena.read_ballots(services(), record.id)
    if ballots:
        standings, names = arena_results.find_standings(ballots), variant_names(record)
        st.markdown(f"##### {t('arena.standings')}")
        _draw_duels(standings, names)
        _draw_table(standings, names)


def draw_standings(record: ArenaRecord) -> None:
    """Draw everything that the votes say, and what can be made of them."""
    ballots, broken = arena.read_ballots(services(), record.id)
    if broken:
        st.warning(t("arena.broken_lines", count=show_count(broken)), icon=":material/broken_image:")
    if not ballots:
        st.info(t("arena.no_votes"), icon=":material/info:")
        return
    standings, names = arena_results.find_standings(ballots), variant_names(record)
    _draw_duels(standings, names)
    _draw_table(standings, names)
    _draw_notes(standings, names)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(f"##### {t('arena.win_rates')}", help=t("arena.win_rates_help"))
        st.plotly_chart(_heat_map(standings, names), width="stretch", config={"displayModeBar": False}, key="arena-win-rates")
    with right:
        st.markdown(f"##### {t('arena.persons')}", help=t("arena.persons_help"))
        _draw_persons(standings)
    _draw_preferences(record, ballots)


def _draw_duels(standings: Standings, names: Names) -> None:
    for duel in standings.duels:
        words = duel_words(duel, names)
        if duel.decision.verdict == "not_shown":
            st.info(words, icon=":material/hourglass_top:")
        else:
            st.success(words, icon=":material/flag:")


def duel_words(duel: Duel, names: Names) -> str:
    """Return in a sentence how often one is preferred to the other, and whether that is enough to tell."""
    rate, code = duel.rate, {"better": "better", "worse": "worse", "not_shown": "open"}[duel.decision.verdict]
    left, right = as_text(names[duel.left]), as_text(names[duel.right])
    facts = {"left": left, "right": right, "votes": show_count(rate.rows), "rate": f"{rate.mean or 0.0:.0%}"}
    if rate.low is None or rate.high is None:
        return t("arena.duel_one", **facts)
    words = t(f"arena.duel_{code}", low=f"{rate.low:.0%}", high=f"{rate.high:.0%}", **facts)
    if duel.decision.reason == "too_few_differ":
        decided = duel.decision.comparison.wins + duel.decision.comparison.losses
        return f"{words} {t('arena.duel_few', needed=show_count(duel.decision.differing_needed), decided=show_count(decided))}"
    return words


def _draw_table(standings: Standings, names: Names) -> None:
    ratings = standings.ratings.ratings
    none = t("common.none")
    st.dataframe(
        pd.DataFrame(
            {
                t("arena.variant"): [names[each.name] for each in ratings],
                "Elo": [round(each.elo) for each in ratings],
                t("arena.interval"): [none if each.low is None else f"{each.low:.0f} – {each.high:.0f}" for each in ratings],
                t("arena.votes"): [each.votes for each in ratings],
                t("arena.wins"): [each.wins for each in ratings],
                t("arena.ties"): [each.ties for each in ratings],
                t("arena.losses"): [each.losses for each in ratings],
            }
        ),
        hide_index=True, width="stretch", column_config={t("arena.variant"): st.column_config.TextColumn(width="medium")},
    )  # fmt: skip
    st.caption(t("arena.counted", ballots=show_count(standings.ballots), persons=show_count(len(standings.persons))))


def _draw_notes(standings: Standings, names: Names) -> None:
    ratings = standings.ratings
    told = {key: as_text(name) for key, name in names.items()}
    notes = [t("arena.note_unbeaten", name=told[key]) for key in ratings.unbeaten]
    notes += [t("arena.note_winless", name=told[key]) for key in ratings.winless]
    if silent := [name for key, name in told.items() if key not in {each.name for each in ratings.ratings}]:
        notes.append(t("arena.note_no_vote", names=", ".join(silent)))
    if len(ratings.groups) > 1:
        groups = " | ".join(", ".join(told[key] for key in group) for group in ratings.groups)
        notes.append(t("arena.note_groups", groups=groups))
    if len(standings.persons) == 1 and standings.ballots > 1:
        notes.append(t("arena.note_one_person"))
    for note in notes:
        st.caption(f":material/info: {note}")


def _heat_map(standings: Standings, names: Names) -> go.Figure:
    """Return the share of the row's wins against the column's variant; empty where they never met."""
    ratings = standings.ratings
    shown = [_short(names[each.name]) for each in ratings.ratings]
    places = range(len(shown))
    rates = [[None if not ratings.met[row, column] else float(ratings.win_rates[row, column]) for column in places] for row in places]
    texts = [
        ["" if (rate := rates[row][column]) is None else f"{rate:.0%}<br>n = {ratings.met[row, column]:.0f}" for column in places]
        for row in places
    ]  # fmt: skip
    figure = go.Figure(
        go.Heatmap(
            z=rates, x=shown, y=shown, text=texts, texttemplate="%{text}", zmin=-0.2, zmax=1.2, colorscale="RdBu", xgap=2, ygap=2,
            showscale=False, hovertemplate=t("arena.cell", row="%{y}", column="%{x}", text="%{text}") + "<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(height=70 + CELL_PIXELS * len(shown), margin={"l": 0, "r": 0, "t": 10, "b": 0})
    figure.update_xaxes(type="category", side="top", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:18]}…{name[-9:]}"


def _draw_persons(standings: Standings) -> None:
    persons = standings.persons
    st.dataframe(
        pd.DataFrame(
            {
                t("arena.voter"): [person or t("arena.nameless") for person in persons],
                t("arena.votes"): [sum(counted.values()) for counted in persons.values()],
                t("arena.ties"): [counted[arena.TIE] for counted in persons.values()],
                t("arena.all_bad"): [counted[arena.ALL_BAD] for counted in persons.values()],
            }
        ),
        hide_index=True, width="stretch",
    )  # fmt: skip


def _draw_preferences(record: ArenaRecord, ballots: list[Ballot]) -> None:
    """Draw what data set the votes give, and make it."""
    st.markdown(f"##### {t('arena.preferences')}", help=t("arena.preferences_help"))
    found = arena_results.find_preferences(ballots)
    left_out = [t(f"arena.out_{code}", count=show_count(count)) for code, count in found.left_out.items() if count]
    words = t("arena.pairs", count=show_count(len(found.rows)))
    st.write(f"{words} {t('arena.left_out', kinds=', '.join(left_out))}" if left_out else words)
    file = as_file_name(record.name, "arena")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(t("import.name"), record.name, help=t("import.name_help"), key=f"arena-data-name-{record.id}", width=320)
        if st.button(t("arena.make"), type="primary", icon=":material/add:", disabled=not found.rows or services().read_only):
            _make(record, name)
        pairs = f"{file}-preferences.jsonl"
        draw_download(t("arena.download_pairs"), lambda _: arena_results.as_lines(found.rows), pairs, disabled=not found.rows)
        draw_download(t("arena.download_votes"), lambda _: arena_results.votes_as_lines(ballots), f"{file}-votes.jsonl")
    if made := st.session_state.get(f"arena_made-{record.id}"):
        with guarded():
            _draw_made(made)


def _make(record: ArenaRecord, name: str) -> None:
    try:
        with work_bar(t("import.importing")):
            made = arena_results.keep_preferences(services(), record.id, name)
    except UserError as error:
        show_error(error)
    else:
        st.session_state[f"arena_made-{record.id}"] = made
        toast(t("arena.made", name=made))
        st.rerun()


def _draw_made(dataset_id: str) -> None:
    summary = datasets.summarise(datasets.find_dataset(services(), dataset_id))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.success(t("arena.made", name=dataset_id), icon=":material/check_circle:")
        if st.button(t("arena.open_data"), icon=":material/table_rows:"):
            go_to("dataset", data=dataset_id)
        if st.button(t("dataset.train"), icon=":material/model_training:"):
            start_form_for(summary)
            go_to("training", view="new")
