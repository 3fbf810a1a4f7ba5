"""How answers are drawn, as fields of a form. Knows the settings of sampling, not who answers."""

from __future__ import annotations

from tunesmith.inference.sampling import Sampling
from tunesmith.settings.files import from_mapping
from tunesmith.ui.forms import draw_fields

PLAIN = Sampling()


def draw_sampling(key: str, first: Sampling = PLAIN) -> Sampling:
    """Draw all settings, kept under `key` in the session, at first those given. Raises UserError `setting_…`."""
    values = draw_fields(first, key, advanced=False, options={}, columns=4)
    return from_mapping(Sampling, values | draw_fields(first, key, advanced=True, options={}, columns=4))
