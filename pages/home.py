"""Home: what runs, the demo, recent experiments, next steps."""

from __future__ import annotations

import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.services import home, queue
from tunesmith.services.home import Overview
from tunesmith.ui.experiment_table import draw_recent
from tunesmith.ui.figures import show_count, show_duration, show_loss
from tunesmith.ui.frame import go_to, link_to, open_run
from tunesmith.ui.live_figures import watch_queue
from tunesmith.ui.messages import guarded
from tunesmith.ui.run_status import draw_status
from tunesmith.ui.session import services, t


def draw_active() -> None:
    """Draw the run that is going on; it is drawn anew when the queue has changed."""
    with guarded():
        watch_queue(queue.marks(queue.overview(services())))
        found = home.overview(services())
        st.markdown(f"##### {t('home.running_now')}")
        if found.active is None:
            st.caption(t("home.nothing_running"))
        else:
            state = found.active
            draw_status(state.status)
            st.markdown(f"**{as_text(state.name)}**")
            line = t("home.loss_line", loss=show_loss(state.train_loss), step=show_count(state.step), iters=show_count(state.iters))
            st.progress(state.progress, text=line)
            st.caption(f"{t('run.eta')}: {show_duration(state.eta_seconds)}")
            if st.button(t("common.open"), key="open_active"):
                open_run(state.id)
        if found.queued:
            st.caption(t("home.waiting", n=found.queued))
        if found.paused:
            st.caption(t("home.paused", n=found.paused))
        if (found.queued or found.paused) and st.button(t("training.view_queue"), key="open_queue"):
            go_to("training", view="queue")


def draw_demo(found: Overview) -> None:
    """Draw the demo's one button."""
    with st.container(border=True, height="stretch"):
        st.markdown(f"##### {t('home.demo_title')}")
        st.write(t("home.demo_text"))
        with st.container(horizontal=True):
            label = t("home.demo_again") if found.demo_run else t("home.demo_button")
            if st.button(label, type="primary", icon=":material/play_arrow:", disabled=services().read_only):
                open_run(home.start_demo(services()))
            if found.demo_run and st.button(t("home.demo_open")):
                open_run(found.demo_run.id)


def draw_steps(found: Overview) -> None:
    """Draw the three steps; those that were done are ticked."""
    st.markdown(f"##### {t('home.next_steps')}")
    done = {"data": bool(found.recent), "train": found.has_adapter, "compare": found.has_compared}
    following = next((step for step, finished in done.items() if not finished), "")
    targets = {"data": "dataset", "train": "training", "compare": "compare"}
    for number, (place, (step, target)) in enumerate(zip(st.columns(3), targets.items(), strict=True), start=1):
        with place, st.container(border=True, height="stretch"):
            mark = f" :green-badge[{t('home.done')}]" if done[step] else f" :blue-badge[{t('home.next')}]" if step == following else ""
            st.markdown(f"**{number}. {t(f'home.step_{step}')}**{mark}")
            st.caption(t(f"home.step_{step}_text"))
            link_to(target)


st.title(t("home.title"))
st.write(t("home.intro"))
overview = home.overview(services())
left, right = st.columns([3, 2])
with left:
    draw_demo(overview)
with right, st.container(border=True, height="stretch"):
    st.fragment(draw_active)()
draw_steps(overview)
st.markdown(f"##### {t('home.recent')}")
if overview.recent:
    draw_recent(overview.recent)
else:
    st.caption(t("home.no_recent"))
