"""The fields of a chat endpoint in OpenAI's form. Knows the allowed hosts of the settings; what is asked there is others' business."""

from __future__ import annotations

import streamlit as st

from tunesmith.system.endpoint import Endpoint
from tunesmith.ui.session import services, t


def draw_endpoint(prefix: str) -> Endpoint:
    """Draw address, model name and the variable with the key, and return them; what was typed stays under `<prefix>-…`."""
    left, middle, right = st.columns(3)
    hosts = ", ".join(services().settings.endpoint_hosts)
    address = left.text_input(
        t("endpoint.address"), "http://127.0.0.1:8080/v1", help=t("endpoint.address_help", hosts=hosts), key=f"{prefix}-address"
    )
    name = middle.text_input(t("endpoint.model"), "default_model", help=t("endpoint.model_help"), key=f"{prefix}-endpoint-model")
    key = right.text_input(t("endpoint.key"), help=t("endpoint.key_help"), placeholder="OPENAI_API_KEY", key=f"{prefix}-key")
    return Endpoint(address.strip(), name.strip(), key.strip())
