"""The form of a new judgement: whose answers, who judges, how, and what that asks for. Knows the judging service."""

from __future__ import annotations

import dataclasses
from typing import Any

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.evaluation.judge_prompts import NEEDED, OPTIONAL, default_prompt
from tunesmith.evaluation.judging import JudgeRules
from tunesmith.services import datasets, evaluations, judging
from tunesmith.services.judging import Judge
from tunesmith.services.variants import base_of, find_variant, list_variants
from tunesmith.settings.files import from_mapping
from tunesmith.ui.endpoint_form import draw_endpoint
from tunesmith.ui.figures import show_count
from tunesmith.ui.forms import draw_field, draw_fields
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.run_titles import run_titles
from tunesmith.ui.session import language, services, t
from tunesmith.ui.training_form import dataset_title
from tunesmith.ui.variant_choice import choose_variant, choose_variants, record_titles

FIELDS = {field.name: field for field in dataclasses.fields(JudgeRules)}


def draw_form() -> None:
    """Draw the form and start what it says."""
    if not list_variants(services()):
        st.info(t("judge.no_models"), icon=":material/info:")
        return
    rules = _draw_rules()
    source = _draw_source()
    keys = _draw_of_evaluation(rules, source["evaluation"]) if source["evaluation"] else _draw_variants(rules)
    judge = _draw_judge()
    rules = _draw_more(rules)
    template = _draw_prompt(rules)
    name = st.text_input(t("judge.name"), key="judge-name", max_chars=200, placeholder=t("judge.name_own"), help=t("judge.name_help"))
    _draw_estimate(rules, len(keys), source, template, judge)
    ready = bool(keys) and any(source.values()) and not services().read_only
    if st.button(t("judge.start"), type="primary", icon=":material/gavel:", disabled=not ready):
        try:
            started = judging.start(
                services(), keys, rules, judge, data=source["data"], evaluation=source["evaluation"], template=template, name=name
            )
        except UserError as error:
            show_error(error)
        else:
            st.query_params["judgement"] = started
            toast(t("judge.started"))
            st.rerun()


def _draw_rules() -> JudgeRules:
    """Draw the kind of judgement, its language, how many rows; of a rubric the criteria and the scale."""
    plain = JudgeRules(language=language() if language() == "ja" else "en")
    values = draw_fields(plain, "judge", advanced=False, options={}, columns=4)
    if values["mode"] == "rubric":
        left, right = st.columns([3, 1])
        with left:
            values["criteria"] = draw_field(plain, FIELDS["criteria"], "judge", {})
        with right:
            values["scale"] = draw_field(plain, FIELDS["scale"], "judge", {})
    return JudgeRules(**values)


def _draw_source() -> dict[str, str]:
    """Draw where the answers come from: a data set, or an evaluation; the address may name one."""
    known = {each.id: each for each in evaluations.list_evaluations(services()) if judging.has_answers(each.job)}
    held_out = {d.id: d for d in datasets.list_datasets(services()) if d.rows.get("test") or d.rows.get("valid")}
    asked = st.query_params.get("evaluation", "")
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    where = left.segmented_control(
        t("judge.source"), ("data", "evaluation") if known else ("data",), key=f"judge-source-{asked}", help=t("judge.source_help"),
        default="evaluation" if asked in known else "data", format_func=lambda name: t(f"judge.source_{name}"),
    )  # fmt: skip
    if where == "evaluation":
        titles = run_titles(list(known.values()))
        chosen = right.selectbox(
            t("judge.evaluation"), list(known), format_func=lambda each: titles[each], key=f"judge-evaluation-{asked}",
            index=list(known).index(asked) if asked in known else 0, help=t("judge.evaluation_help"),
        )  # fmt: skip
        return {"evaluation": chosen or "", "data": ""}
    if not held_out:
        right.info(t("judge.no_data"), icon=":material/info:")
    first = _first_variants()[0]
    learned = [record["data"].partition("@")[0] for record in evaluations.training_data(services(), [find_variant(services(), first)])]
    data = right.selectbox(
        t("judge.data"), list(held_out), format_func=lambda each: dataset_title(held_out[each]), key=f"judge-data-{first}",
        index=next((list(held_out).index(each) for each in learned if each in held_out), 0), help=t("judge.data_help"),
    )  # fmt: skip
    return {"evaluation": "", "data": data or ""}


def _draw_of_evaluation(rules: JudgeRules, evaluation: str) -> list[str]:
    """Draw the choice among those that an evaluation asked."""
    names = record_titles(evaluations.find(services(), evaluation).variants.values())
    help_text, show = t("judge.of_evaluation_help"), names.__getitem__
    if rules.mode == "rubric":
        key = f"judge-all-{evaluation}"
        return st.multiselect(t("judge.variants"), list(names), default=list(names), format_func=show, key=key, help=help_text)
    left, right = st.columns(2)
    first = left.selectbox(t("judge.left"), list(names), format_func=show, key=f"judge-left-{evaluation}", help=help_text)
    others = [key for key in names if key != first]
    second = right.selectbox(t("judge.right"), others, format_func=show, key=f"judge-right-{evaluation}", help=help_text)
    return [first, second] if first and second else []


def _draw_variants(rules: JudgeRules) -> list[str]:
    first, second = _first_variants()
    if rules.mode == "rubric":
        both = [key for key in (first, second) if key]
        return [variant.key for variant in choose_variants(t("judge.variants"), "judge-variants", both, judging.MOST_VARIANTS)]
    left, right = st.columns(2)
    with left:
        one = choose_variant(t("judge.left"), "judge-left", first)
    with right:
        other = choose_variant(t("judge.right"), "judge-right", second)
    return [one.key, other.key] if one and other else []


def _first_variants() -> tuple[str, str]:
    """Return the variant that the address names, else the newest, and its base."""
    known = list_variants(services())
    try:
        first = find_variant(services(), st.query_params["variant"]) if "variant" in st.query_params else known[0]
    except UserError as error:
        show_error(error)
        first = known[0]
    base = base_of(services(), first)
    others = [variant.key for variant in (base, *known) if variant.key != first.key]
    return first.key, others[0] if others else ""


def _draw_judge() -> Judge:
    where = st.segmented_control(
        t("judge.who"), ("endpoint", "local"), default="endpoint", format_func=lambda name: t(f"judge.who_{name}"), key="judge-who",
        help=t("judge.who_help"),
    )  # fmt: skip
    if where == "local":
        models = [variant.key for variant in list_variants(services()) if variant.adapter_path is None]
        chosen = choose_variant(t("judge.local"), "judge-local", next(iter(models), ""))
        return Judge(variant=chosen.key if chosen else "")
    return Judge(endpoint=draw_endpoint("judge"))


def _draw_more(rules: JudgeRules) -> JudgeRules:
    with st.expander(t("judge.more"), icon=":material/tune:"):
        values = draw_fields(rules, "judge", advanced=True, options={}, columns=3)
    return from_mapping(JudgeRules, dataclasses.asdict(rules) | values)


def _draw_prompt(rules: JudgeRules) -> str:
    """Draw the prompt, which is another one for each kind and language."""
    key = f"judge-prompt-{rules.mode}-{rules.language}"
    with st.expander(t("judge.prompt"), icon=":material/edit_note:"):
        needed, possible = (" ".join(f"`{{{name}}}`" for name in names[rules.mode]) for names in (NEEDED, OPTIONAL))
        st.caption(t("judge.prompt_help", needed=needed, possible=possible))
        shipped = default_prompt(rules.mode, rules.language)
        st.session_state.setdefault(key, shipped)
        if st.button(t("judge.prompt_back"), icon=":material/undo:", disabled=st.session_state[key] == shipped):
            st.session_state[key] = shipped
        return st.text_area(t("judge.prompt"), key=key, height=380, label_visibility="collapsed")


def _draw_estimate(rules: JudgeRules, variants: int, source: dict[str, Any], template: str, judge: Judge) -> None:
    if not any(source.values()):
        return
    about = judging.estimate(services(), rules, variants, **source, template=template)
    tokens = [show_count(float(f"{count:.2g}")) for count in (about.prompt_tokens, about.completion_tokens)]
    words = t("judge.estimate", questions=show_count(about.questions), prompt=tokens[0], completion=tokens[1])
    priced = about.cost is not None and judge.endpoint
    st.caption(f"{words}, {t('judge.cost', cost=f'{about.cost:,.2f}')}" if priced else words)
