"""Evaluate: the same questions to several models; scores, judges and benchmark tasks, each a view of its own."""

from __future__ import annotations

import streamlit as st

from tunesmith.ui.benchmark_view import draw_benchmarks
from tunesmith.ui.evaluation_view import draw_scores
from tunesmith.ui.judge_view import draw_judge
from tunesmith.ui.messages import guarded
from tunesmith.ui.session import t
from tunesmith.ui.view_choice import choose_view

VIEWS = {"score": draw_scores, "judge": draw_judge, "benchmark": draw_benchmarks}

st.title(t("evaluate.title"))
st.write(t("evaluate.intro"))
view = choose_view("evaluate", VIEWS)
with guarded():
    VIEWS[view]()
