"""Jobs that fuse and quantise: real workers, the shipped model, adapters with drawn factors."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file, save_file

from tests.adapters import add_adapter
from tests.jobs.conftest import done, wait_for
from tunesmith.errors import UserError
from tunesmith.export.config import QuantizeRules
from tunesmith.fusion.config import FusionRules
from tunesmith.jobs.job import LOCK, Job
from tunesmith.services import adapters, exports, fusion, jobs, models
from tunesmith.services.context import Services
from tunesmith.store.adapters import AdapterStore
from tunesmith.store.locks import ProcessLock

EQUAL = FusionRules(weights=(0.5, 0.5))


@pytest.fixture
def pair(services: Services) -> list[str]:
    return [add_adapter(services.data_dir, f"adapter {n}", seed=n).id for n in (1, 2)]


def test_the_map_tells_each_module(services: Services, pair: list[str], finish: Callable[[str], Job]) -> None:
    result = done(finish(fusion.start_map(services, pair)))
    assert len(result["modules"]) == 12
    assert abs(result["modules"][0]["cosine"][0][1]) < 0.3
    found = fusion.find_map(services, pair)
    assert found is not None
    assert fusion.find_map(services, pair[::-1]) is None


def test_two_become_an_adapter_that_can_be_asked(services: Services, pair: list[str], finish: Callable[[str], Job]) -> None:
    result = done(finish(fusion.start_fusion(services, pair, EQUAL, "adapter", "both of them", "company_facts")))
    assert result["kept"] == pytest.approx(1.0)
    assert result["likeness"]["kl"] < 1e-6
    assert set(result["losses"]) == {"base", "adapter_0", "adapter_1", "naive", "result"}
    assert result["losses"]["naive"] != pytest.approx(result["losses"]["result"], rel=1e-6)
    info = adapters.find_adapter(services, result["adapter"])
    assert (info.name, info.origin, info.rank, info.method) == ("both of them", "fused", 8, "linear")
    assert [parent["adapter"] for parent in info.lineage["adapters"]] == pair


def test_two_become_a_model(services: Services, pair: list[str], finish: Callable[[str], Job]) -> None:
    rules = FusionRules(method="ties", weights=(1.0, 1.0), density=0.4)
    result = done(finish(fusion.start_fusion(services, pair, rules, "model", "Both as a model")))
    assert result["likeness"]["top1"] > 0.9  # the model is kept in float16, the reference in float32
    assert "both-as-a-model" in {model.id for model in models.list_models(services)}
    assert exports.list_made(services)[0].manifest["method"] == "ties"
    with pytest.raises(UserError) as caught:
        fusion.start_fusion(services, pair, rules, "model", "Both as a model")
    assert caught.value.code == "target_exists"


def test_weights_are_swept(services: Services, pair: list[str], finish: Callable[[str], Job]) -> None:
    result = done(finish(fusion.start_sweep(services, pair, EQUAL, 3, "company_facts")))
    assert [point["weights"] for point in result["points"]] == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    assert result["best"]["loss"] == min(point["loss"] for point in result["points"])


def test_an_adapter_is_fused_and_the_model_quantised(services: Services, pair: list[str], finish: Callable[[str], Job]) -> None:
    source = exports.find_source(services, pair[0])
    result = done(finish(exports.start_fused(services, source, "fused one", "float32")))
    assert result["proof"]["likeness"]["kl"] < 1e-6
    fused = exports.find_source(services, "fused-one")
    result = done(finish(exports.start_quantized(services, fused, "small", QuantizeRules(bits=4, group_size=64), "company_facts")))
    assert result["size_bytes"] < result["size_bytes_before"] / 4
    assert 0 < result["kl"] < 1
    assert result["perplexity"] != result["perplexity_before"]
    made = {each.name: each for each in exports.list_made(services)}
    assert made["small"].manifest["base_manifest"]["adapter"] == pair[0]


def test_what_is_wrong_is_told_and_nothing_stays(services: Services, pair: list[str], finish: Callable[[str], Job]) -> None:
    file = adapters.find_adapter(services, pair[1]).path / "adapters.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.down_proj.lora_b"][0, 0] = np.nan
    save_file(tensors, file)
    job = finish(fusion.start_fusion(services, pair, EQUAL, "adapter", "broken"))
    assert job.status == "failed"
    assert job.error is not None
    assert (job.error.code, job.error.facts["module"]) == ("adapter_not_finite", "model.layers.1.mlp.down_proj")
    assert {record.name for record in AdapterStore(services.data_dir).all()} == {"adapter 1", "adapter 2"}


def test_adapters_of_two_bases_are_refused(services: Services, pair: list[str]) -> None:
    other = add_adapter(services.data_dir, "other", seed=3, base_model_hash="another").id
    third = add_adapter(services.data_dir, "third", seed=3, base_model_hash="one more").id
    with pytest.raises(UserError) as caught:
        fusion.start_map(services, [other, third])
    assert caught.value.code == "adapters_of_two_bases"


def test_a_job_waits_for_the_accelerator_and_can_be_cancelled(services: Services, pair: list[str], finish: Callable[[str], Job]) -> None:
    slot = ProcessLock(services.store.locks / "accelerator.lock")
    assert slot.acquire()
    job_id = fusion.start_fusion(services, pair, EQUAL, "adapter", "waiting")
    wait_for(lambda: jobs.find_job(services, job_id).phase == "waiting")
    jobs.cancel(services, job_id)
    assert finish(job_id).status == "cancelled"
    slot.release()
    jobs.forget(services, job_id)
    assert jobs.list_jobs(services) == []


def test_a_killed_job_is_told_and_leaves_nothing(services: Services, pair: list[str], finish: Callable[[str], Job]) -> None:
    slot = ProcessLock(services.store.locks / "accelerator.lock")
    assert slot.acquire()
    job_id = fusion.start_fusion(services, pair, EQUAL, "model", "killed")
    folder = jobs.find_job(services, job_id).folder
    wait_for(lambda: jobs.find_job(services, job_id).phase == "waiting")
    for process in psutil.Process().children(recursive=True):
        if str(folder) in process.cmdline():
            os.kill(process.pid, signal.SIGKILL)
    assert finish(job_id).status == "stopped"
    assert not (folder / LOCK).with_name("end.json").exists()
    assert exports.list_made(services) == []
