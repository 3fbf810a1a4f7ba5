"""Keys that are used for real, and then looked for everywhere: files, logs, pages, answers, commands, environments, addresses."""

from __future__ import annotations

import base64
import io
import itertools
import secrets
import subprocess
import sys
import threading
import traceback
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

import orjson
import psutil
import pytest
import requests
import streamlit as st
import yaml
from streamlit.testing.v1 import AppTest

from tests.e2e.conftest import Server
from tests.ended_runs import add_ended_run
from tests.jobs.conftest import wait_for
from tests.jobs.test_door import ask
from tests.judge_double import LEFT, RIGHT, Asked, JudgeDouble, add_evaluation, serve_judge, verdict_for
from tests.loopback_hub import LoopbackHub, Repository, serve_hub
from tests.planted_keys import Needles, ProcessWatch, browser_messages
from tests.shared_server import shared_server
from tests.ui.conftest import PAGES, ROOT
from tunesmith.access.codes import AccessFile
from tunesmith.access.people import ROLES, TRAINER, Person
from tunesmith.api import ENDPOINTS
from tunesmith.data.synthesis import SynthesisRules
from tunesmith.errors import UserError
from tunesmith.evaluation.judging import JudgeRules
from tunesmith.i18n.catalog import LANGUAGES, error_words
from tunesmith.jobs.job import LOG, REQUEST
from tunesmith.models.folder_layout import MANIFEST
from tunesmith.reports.files import report_page, report_zip
from tunesmith.services import context, dataset_versions, exports, jobs, judging, keys, run_packages, serving, synthesis
from tunesmith.services.context import Services
from tunesmith.services.judging import Judge
from tunesmith.services.run_metrics import metrics_csv
from tunesmith.settings.files import to_yaml
from tunesmith.store.files import read_json, write_json
from tunesmith.system.endpoint import Endpoint
from tunesmith.ui.frame import MAIN_SCRIPT

HUB_KEY, ENDPOINT_KEY, SERVED_KEY = "hub token", "endpoint key", "served model's key"
VARIABLE = "PLANTED_API_KEY"
SETTINGS = {"model": "demo", "data": "company_facts", "iters": 4, "steps_per_report": 1, "max_seq_length": 64, "batch_size": 2}
MAY_HOLD = {
    HUB_KEY: ("tunesmith.data.reading_process", "tunesmith.jobs.job_worker"),
    ENDPOINT_KEY: ("tunesmith.jobs.job_worker", "tunesmith.jobs.generation_worker"),
    SERVED_KEY: ("tunesmith.jobs.serving_worker",),
}


_NUMBERS = itertools.count()


def plant(mark: str) -> str:
    return f"{mark}{secrets.token_urlsafe(24)}+/&{secrets.token_urlsafe(24)}="


@dataclass
class Evidence:
    """What was said in all places that can be read afterwards; `used` are the keys that reached whom they are for."""

    keys: dict[str, str]
    folder: Path
    said: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    commands: set[str] = field(default_factory=set)
    holders: dict[str, set[str]] = field(default_factory=dict)

    def keep(self, where: str, words: str) -> None:
        """Note what was said."""
        self.said[f"{where} {next(_NUMBERS)}"] = words

    def refuse(self, code: str, call: Callable[[], object]) -> None:
        """Note how a call is refused, with the words and with what a log would show."""
        with pytest.raises(UserError) as error:
            call()
        assert error.value.code == code, error.value
        words = [error_words(code, error.value.facts, lang) for lang in LANGUAGES]
        self.keep(code, "\n".join([str(error.value.as_record()), *words, *traceback.format_exception(error.value)]))


def run_cli(evidence: Evidence, *arguments: str, given: str = "") -> None:
    command = [sys.executable, "-m", "tunesmith.cli", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr.replace(given or "-", "***")
    evidence.said[" ".join(arguments)] = done.stdout + done.stderr


def kill_process(s: Services, *words: str) -> bool:
    """Kill a process of this data folder whose command has these words; return whether there is one."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        ours = (process.info["environ"] or {}).get("TUNESMITH_DATA_DIR") == str(s.data_dir)
        if ours and all(any(word in part for part in process.info["cmdline"] or ()) for word in words):
            process.kill()
            return True
    return False


def visit_the_hub(evidence: Evidence, s: Services) -> None:
    """Import a data set: as it should be, with a token that is refused, without an answer, and with a reader that is killed."""
    key = evidence.keys[HUB_KEY]
    rows = b"".join(orjson.dumps({"text": f"row {n}"}) + b"\n" for n in range(20))
    with serve_hub() as hub, pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_ENDPOINT", hub.address)
        hub.repositories["team/rows"] = Repository({"train.jsonl": rows})
        hub.repositories["team/closed"] = Repository({}, about=(401, {"X-Error-Message": f"Invalid token {key}"}))
        hub.repositories["team/broken"] = Repository({}, about=(400, {"X-Error-Message": f"What is {key}?"}))
        dataset_versions.import_hub(s, "team/rows")
        evidence.refuse("hub_token_refused", lambda: dataset_versions.import_hub(s, "team/closed"))
        evidence.refuse("hub_unreachable", lambda: dataset_versions.import_hub(s, "team/broken"))
        killer = threading.Thread(target=wait_for, args=(lambda: kill_process(s, "tunesmith.data.reading_process"), 30))
        killer.start()
        evidence.refuse("data_reader_died", lambda: dataset_versions.import_hub(s, "team/rows"))
        killer.join()
        carry_to_the_hub(evidence, s, hub)
        if f"Bearer {key}" in {authorization for _, _, authorization in hub.asked}:
            evidence.used.add(HUB_KEY)
        evidence.said["addresses of the hub"] = "\n".join(hub.targets)
        environment.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
        evidence.refuse("hub_unreachable", lambda: dataset_versions.import_hub(s, "team/rows"))


def carry_to_the_hub(evidence: Evidence, s: Services, hub: LoopbackHub) -> None:
    """Upload an export, with a token that may write and with one that may not."""
    folder = exports.exports_folder(s) / "carried"
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"weights" * 1000)
    write_json(folder / MANIFEST, {"format": "gguf", "made_at": 1.0})
    made = exports.find_made(s, "carried")
    refused = exports.start_upload(s, made, "me/closed", private=True)
    wait_for(lambda: jobs.find_job(s, refused).ended)
    assert (error := jobs.find_job(s, refused).error)
    assert error.code == "hub_upload_token_refused"
    hub.writers = {evidence.keys[HUB_KEY]}
    sent = exports.start_upload(s, made, "me/open", private=True)
    wait_for(lambda: jobs.find_job(s, sent).ended)
    assert jobs.find_job(s, sent).status == "completed"
    assert hub.models["me/open"].files


def ask_judges(evidence: Evidence, s: Services) -> None:
    """Judge by endpoints that repeat the key, refuse it, are silent or gone; with workers that are killed and that crash."""
    key, evaluation = evidence.keys[ENDPOINT_KEY], add_evaluation(s.data_dir, 2)
    rules = JudgeRules(rows=2, parallel=1, attempts=1, timeout_seconds=1)

    def start(double: JudgeDouble, rules: JudgeRules = rules) -> str:
        judge = Judge(Endpoint(double.address, "double", VARIABLE))
        return judging.start(s, [LEFT, RIGHT], rules, judge, evaluation=evaluation)

    def ended(judgement: str, status: str) -> Path:
        wait_for(lambda: judging.find(s, judgement).job.ended)
        job = judging.find(s, judgement).job
        assert job.status == status, job.error
        if job.error:
            evidence.said[f"judgement {judgement}"] = str(job.error.as_record()) + error_words(job.error.code, job.error.facts, "en")
        return job.folder

    def repeat(asked: Asked, _: int) -> tuple[int, str]:
        return 200, f"You sent {key}. {verdict_for(True, asked[1])}"

    with ExitStack() as opened:
        good, closed, silent = (
            opened.enter_context(serve_judge(script)) for script in (repeat, lambda *_: (401, f"Incorrect key: {key}"), repeat)
        )
        silent.wait_seconds = lambda *_: 1.5
        judged, refused, timed_out = start(good), start(closed), start(silent)
        made = synthesis.start(
            s, SynthesisRules(count=1, attempts=1), ["Question 1: left says 1"], endpoint=Endpoint(closed.address, "double", VARIABLE)
        )  # fmt: skip
        ended(judged, "completed")
        folder = ended(refused, "failed")
        ended(timed_out, "completed")
        silent.wait_seconds = lambda *_: 60.0
        killed = start(silent, JudgeRules(rows=2, parallel=1, attempts=1, timeout_seconds=100))
        wait_for(lambda: sum(silent.asked.values()) > 4)
        assert kill_process(s, "tunesmith.jobs.job_worker", killed)
        ended(killed, "stopped")
        write_json(folder / REQUEST, {name: value for name, value in read_json(folder / REQUEST).items() if name != "prompt"})
        judging.resume(s, refused)
        ended(refused, "failed")
        wait_for(lambda: synthesis.find_generation(s, made).status == "failed")
        assert "Traceback" in (folder / LOG).read_text()
        if good.keys == {f"Bearer {key}"}:
            evidence.used.add(ENDPOINT_KEY)
        evidence.said["addresses of the judges"] = "\n".join({*good.paths, *closed.paths, *silent.paths})
    gone = start(good)
    ended(gone, "completed")


def serve_a_model(evidence: Evidence, s: Services) -> None:
    """Serve a model with a key: asked with the right one, a wrong one and none; killed; and where the port is taken."""
    key, source = evidence.keys[SERVED_KEY], exports.find_source(s, "model:demo")
    server = serving.start(s, source, "demo", key=key).server
    wait_for(lambda: serving.find(s, server.id).status != "starting")
    server = serving.find(s, server.id)
    assert server.status == "ready", server.error
    second = serving.start(s, source, "demo", port=int(server.address.rpartition(":")[2].partition("/")[0]), key=key).server
    body = {"model": "demo", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
    for given, status in ((key, 200), (key[:-1], 401), (key.swapcase(), 401), ("", 401)):
        headers = {"Authorization": f"Bearer {given}"} if given else {}
        answer = requests.post(f"{server.address}/chat/completions", json=body, headers=headers, timeout=60)
        assert answer.status_code == status, answer.text
        evidence.keep("served", answer.text + str(answer.headers))
        if status == 200:
            evidence.used.add(SERVED_KEY)
    evidence.said["how to ask"] = serving.how_to_ask(server)
    wait_for(lambda: serving.find(s, second.id).status == "failed")
    evidence.said["port taken"] = str(serving.find(s, second.id).error)
    assert kill_process(s, "tunesmith.jobs.serving_worker", server.id)
    wait_for(lambda: serving.find(s, server.id).status == "failed")


def go_through_the_door(evidence: Evidence, s: Services, server: Server) -> None:
    """Enter with the code, ask the API with the token, and with wrong ones; start a run, and kill the worker of another."""
    own = f"127.0.0.1:{server.port}"
    page = {"host": own, "origin": f"http://{own}", "content-type": "application/x-www-form-urlencoded", "accept": "text/html"}

    def keep(answer: tuple[int, dict[str, str], bytes], status: int) -> tuple[dict[str, str], bytes]:
        assert answer[0] == status, answer
        evidence.keep("answer", str(answer[1]) + answer[2].decode("utf-8", "replace"))
        return answer[1], answer[2]

    code, token = evidence.keys[f"code {TRAINER}"], evidence.keys["API token"]
    keep(ask(server.port, "GET", "/login", page), 200)
    keep(ask(server.port, "POST", "/login", page, urlencode({"name": "Ada", "code": code[:-1]}).encode()), 401)
    told, _ = keep(ask(server.port, "POST", "/login", page, urlencode({"name": "Ada", "code": code}).encode()), 303)
    keep(ask(server.port, "GET", "/", page | {"cookie": told["set-cookie"].partition(";")[0]}), 200)
    evidence.used.add("code trainer")
    program = {"host": own, "authorization": f"Bearer {token}"}

    def call(method: str, path: str, body: str | None = None) -> bytes:
        return keep(ask(server.port, method, path, program, None if body is None else body.encode()), 200)[1]

    run = orjson.loads(call("POST", "/api/runs", yaml.safe_dump(SETTINGS)))["id"]
    evidence.used.add("API token")
    call("GET", f"/api/runs/{run}/events")  # until it has ended
    for endpoint in ENDPOINTS:
        if endpoint.method == "GET":
            call("GET", endpoint.path.replace("{run_id}", run))
            wrong = program | {"authorization": f"Bearer {token[:-1]}"}
            keep(ask(server.port, "GET", endpoint.path.replace("{run_id}", run), wrong), 401)
    keep(ask(server.port, "POST", "/api/runs", program, b"learning_rat: 1"), 400)
    long = orjson.loads(call("POST", "/api/runs", yaml.safe_dump(SETTINGS | {"iters": 9000})))["id"]
    wait_for(lambda: orjson.loads(call("GET", f"/api/runs/{long}"))["status"] == "running")
    assert kill_process(s, "tunesmith.jobs.worker", long)
    wait_for(lambda: orjson.loads(call("GET", f"/api/runs/{long}"))["status"] == "interrupted")


def carry_out(evidence: Evidence, s: Services, folder: Path) -> None:
    """Write everything that can be exported."""
    folder.mkdir()
    run = add_ended_run(s, "carried out").id
    run_packages.pack_into(s, [run], folder / "runs.zip")
    (folder / "report.zip").write_bytes(report_zip(s, [run], "en"))
    (folder / "report.html").write_text(report_page(s, [run], "ja"))
    (folder / "figures.csv").write_text(metrics_csv(s, [run]))
    (folder / "settings.yaml").write_text(to_yaml(s.settings))
    run_cli(evidence, "runs", "export", run, "--out", str(folder / "by-command.zip"))


def draw_pages(evidence: Evidence) -> None:
    """Draw every page, and every view of the settings, as an admin sees them."""
    st.cache_resource.clear()
    st.cache_data.clear()
    context.open_services.cache_clear()
    app = AppTest.from_file(str(MAIN_SCRIPT), default_timeout=60).run()
    for page in (*PAGES, *(f"settings {view}" for view in ("keys", "models", "computer"))):
        name, _, view = page.partition(" ")
        app.query_params.clear()
        if view:
            app.query_params["view"] = view
        drawn = app.run() if name == "home" else app.switch_page(f"../../../pages/{name}.py").run()
        assert not drawn.exception, page
        evidence.said[f"page {page}"] = "".join(browser_messages(drawn))
    assert f"…{evidence.keys[HUB_KEY][-4:]}" in evidence.said["page settings keys"] or VARIABLE in evidence.said["page settings keys"]
    context.open_services().close()
    context.open_services.cache_clear()


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("planted")
    found = Evidence({HUB_KEY: plant("hf_"), ENDPOINT_KEY: plant("sk-"), SERVED_KEY: plant("srv-")}, folder)
    with pytest.MonkeyPatch.context() as environment, ExitStack() as opened:
        environment.chdir(ROOT)
        (folder / "tmp").mkdir()
        for name, place in {"TUNESMITH_DATA_DIR": "data", "TUNESMITH_SECRETS_DIR": "secrets", "HF_HOME": "hf", "TMPDIR": "tmp"}.items():
            environment.setenv(name, str(folder / place))
        environment.delenv("HF_TOKEN", raising=False)
        environment.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
        codes = AccessFile().open()
        found.keys |= {f"code {role}": codes.codes[role] for role in ROLES} | {"signing key": codes.key}
        found.keys["API token"] = AccessFile().add_token(Person("a program", TRAINER))
        watch = opened.enter_context(ProcessWatch(folder / "data", found.keys))
        server, _ = opened.enter_context(shared_server(folder))
        services = context.build_services()
        opened.callback(services.close)
        run_cli(found, "keys", "set", "HF_TOKEN", given=found.keys[HUB_KEY] + "\n")
        keys.set_key(services, VARIABLE, found.keys[ENDPOINT_KEY])
        with ThreadPoolExecutor() as side_by_side:
            walks = [side_by_side.submit(go_through_the_door, found, services, server)]
            walks += [side_by_side.submit(walk, found, services) for walk in (visit_the_hub, ask_judges, serve_a_model)]
        for walk in walks:
            walk.result()
        carry_out(found, services, folder / "carried")
        draw_pages(found)
        found.commands, found.holders = watch.commands, watch.holders
    return found


@pytest.mark.timeout(240)
def test_the_keys_were_used(evidence: Evidence) -> None:
    assert evidence.used == {HUB_KEY, ENDPOINT_KEY, SERVED_KEY, f"code {TRAINER}", "API token"}
    assert {name for name, holders in evidence.holders.items() if holders} == {*MAY_HOLD}
    for module in {module for modules in MAY_HOLD.values() for module in modules}:
        assert any(module in command for command in evidence.commands), module


def test_no_file_but_the_private_ones_holds_a_key(evidence: Evidence) -> None:
    private = {evidence.folder / "secrets" / name for name in ("access.json", "keys.json")}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in private)
    assert Needles(evidence.keys).in_folder(evidence.folder, private) == {}
    token = {"API token": evidence.keys["API token"]}
    assert Needles(token).in_folder(evidence.folder, set()) == {}  # of that only the hash is kept


def test_nothing_that_was_said_holds_a_key(evidence: Evidence) -> None:
    needles = Needles(evidence.keys)
    assert len(evidence.said) > 40
    assert {place: found for place, text in evidence.said.items() if (found := needles.in_bytes(text.encode("utf-8", "replace")))} == {}


def test_no_command_holds_a_key_and_no_process_one_that_it_does_not_need(evidence: Evidence) -> None:
    assert len(evidence.commands) > 10
    assert Needles(evidence.keys).in_bytes("\n".join(evidence.commands).encode()) == set()
    for name, holders in evidence.holders.items():
        assert {command for command in holders if not any(module in command for module in MAY_HOLD.get(name, ()))} == set(), name


def test_the_search_finds_a_key_in_every_form(tmp_path: Path) -> None:
    key = plant("sk-")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.txt", f"said {key}")
    plain = key.encode()
    leaks = [
        plain, plain.swapcase(), plain[:20], plain[-20:], plain[::-1], plain.hex().encode(), quote(key, safe="").encode(),
        key.replace("&", "&amp;").encode(), base64.b64encode(plain), base64.b64encode(b"x" + plain),
        base64.urlsafe_b64encode(b"xy" + plain + b"z"), packed.getvalue(),
    ]  # fmt: skip
    needles = Needles({"it": key, "another": plant("sk-")})
    for number, leak in enumerate(leaks):
        (tmp_path / f"{number}").write_bytes(b"before " + leak if not leak.startswith(b"PK") else leak)
    found = needles.in_folder(tmp_path, set())
    assert {int(name) for name in found} == set(range(len(leaks)))
    assert {name for forms in found.values() for name, _ in forms} == {"it"}
