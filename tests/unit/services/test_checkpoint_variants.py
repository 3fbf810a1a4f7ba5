"""Checkpoints to compare: one that cannot be read hides no other."""

from __future__ import annotations

from tests.ended_runs import add_ended_run
from tunesmith.services import variants
from tunesmith.services.context import Services


def test_a_broken_checkpoint_hides_no_other(services: Services) -> None:
    run = add_ended_run(services)
    settings = {2: '{"fine_tune_type": "dora"}', 3: "[]", 4: '{"fine_t'}
    for step, text in settings.items():
        folder = services.store.folder(run.id).checkpoint(step)
        folder.mkdir(parents=True)
        (folder / "MANIFEST.json").write_text("{}")
        (folder / "adapter_config.json").write_text(text)

    def listed() -> list[int | None]:
        return [each.step for each in variants.list_variants(services, checkpoints=True) if each.key.startswith("checkpoint:")]

    assert listed() == [2]
    (folder / "adapter_config.json").unlink()  # as a run does that has just saved
    assert listed() == [2]
