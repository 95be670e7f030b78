"""`make profile` looks at any connector from outside, and tells what it saw whatever the connector does."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from profiling import stacks
from profiling.observation import Observation
from profiling.running import MB, ProfileError, Request, observe

Make = Callable[..., Path]

HEAD = """\
import json, os, signal, subprocess, sys, threading, time
from fivetran_connector_sdk import Connector, Logging as log, Operations as op

def schema(configuration):
    return [{"table": "items", "primary_key": ["id"], "columns": {"id": "INT"}}]

def send(rows):
    for number in range(rows):
        op.upsert("items", {"id": number, "name": f"item {number}"})

def update(configuration, state):
"""
TAIL = "\nconnector = Connector(update=update, schema=schema)\n"
FIRST_LINE = len(HEAD.splitlines()) + 1  # of update()


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A folder with a connector whose update() has these lines."""

    def make(*lines: str, name: str = "items", configuration: object = None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "connector.py").write_text(HEAD + "".join(f"    {line}\n" for line in lines) + TAIL)
        (folder / "configuration.json").write_text(json.dumps(configuration or {}))
        return folder

    return make


def seen(folder: Path, configuration: dict[str, str] | None = None, **how: object) -> Observation:
    """The first run alone, without call stacks, unless it is said otherwise."""
    what = {"allocations": False, "stacks": False, "seconds": 30.0, **how}
    return observe(Request(folder, configuration or {}, **what))  # type: ignore[arg-type]


class TestWhateverTheConnectorDoesItIsSeenUpToThere:
    def test_it_returns(self, make: Make) -> None:
        observation = seen(make("send(2000)", "op.checkpoint({})"))
        assert observation.ending.kind == "finished"
        assert observation.rows == {"items": 2000}
        assert [(mark.kind, mark.label) for mark in observation.marks] == [
            ("table", "items"),
            ("checkpoint", "checkpoint 1"),
        ]
        assert observation.samples[-1].rows == 2000
        assert observation.baseline > 10 * MB

    def test_it_raises(self, make: Make) -> None:
        observation = seen(make("send(10)", "raise KeyError('items')"))
        assert (observation.ending.kind, observation.ending.sentence) == ("raised", "KeyError: 'items'")
        assert str(observation.ending.place) == f"connector.py:{FIRST_LINE + 1}"
        assert observation.rows == {"items": 10}

    def test_it_reports_an_error(self, make: Make) -> None:
        observation = seen(make("send(10)", "op.error('the source is gone')", "send(10)"))
        assert (observation.ending.kind, observation.ending.sentence) == (
            "raised",
            "the connector reported: the source is gone",
        )
        assert observation.rows == {"items": 10}  # op.error ends a sync

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("sys.exit(3)", "the connector called exit(3)"),
            ("os._exit(3)", "the connector ended its own process with status 3, without a word"),
        ],
    )
    def test_it_exits(self, make: Make, line: str, sentence: str) -> None:
        observation = seen(make("send(10)", "time.sleep(0.3)", line))
        assert (observation.ending.kind, observation.ending.sentence) == ("exited", sentence)
        assert observation.rows == {"items": 10}

    def test_it_hangs(self, make: Make) -> None:
        observation = seen(make("send(10)", "threading.Event().wait()"), hung=1.0)
        assert observation.ending.kind == "hung"
        assert str(observation.ending.place) == f"connector.py:{FIRST_LINE + 1}"
        assert observation.seconds < 10

    def test_it_does_not_end(self, make: Make) -> None:
        observation = seen(make("send(10)", "while True: time.time()"), seconds=1.0)
        assert observation.ending.kind == "stopped"
        assert str(observation.ending.place) == f"connector.py:{FIRST_LINE + 1}"

    def test_it_reaches_its_limit(self, make: Make) -> None:
        folder = make("kept = []", "send(10)", "while True:", "    kept.append(bytearray(1_000_000))")
        observation = seen(folder, limit=200 * MB)
        assert observation.ending.kind == "limit"
        assert "it reached 200 MB after" in observation.ending.sentence
        assert "with 10 rows sent" in observation.ending.sentence
        assert str(observation.ending.place) == f"connector.py:{FIRST_LINE + 3}"

    def test_something_kills_it(self, make: Make) -> None:
        observation = seen(make("send(10)", "time.sleep(0.3)", "os.kill(os.getpid(), signal.SIGKILL)"))
        assert observation.ending.kind == "killed"
        assert observation.ending.sentence.startswith("it was killed by SIGKILL at ")
        assert observation.rows == {"items": 10}

    def test_it_starts_processes_and_leaves_them(self, make: Make) -> None:
        folder = make(
            "code = 'x = bytearray(80_000_000); import time; time.sleep(60)'",
            "child = subprocess.Popen([sys.executable, '-c', code], start_new_session=True)",
            "log.info(f'child {child.pid} ')",
            "time.sleep(2)",
            "send(10)",
        )
        observation = seen(folder)
        assert max(sample.processes for sample in observation.samples) == 2
        assert observation.peak.resident - observation.baseline > 75 * MB
        assert "there were up to 2 processes: memory and processor are the sum of all" in observation.notes
        (line,) = [line for line in observation.log if "child " in line]
        assert not _runs(int(line.partition("child ")[2].split()[0]))

    def test_it_leaves_threads_running(self, make: Make) -> None:
        folder = make("threading.Thread(target=threading.Event().wait, name='waiter').start()", "send(10)")
        observation = seen(folder)
        assert observation.ending.kind == "finished"
        assert "threads were left running when update() ended: waiter" in observation.notes

    def test_it_is_written_with_yield(self, make: Make) -> None:
        assert seen(make("for n in range(7): yield op.upsert('items', {'id': n})")).rows == {"items": 7}

    @pytest.mark.parametrize(
        ("source", "sentence"),
        [
            ("import not_there", "ModuleNotFoundError: No module named 'not_there'"),
            ("def update(configuration", "SyntaxError: "),
            ("x = 1", "has no update()"),
            ("import sys; sys.exit('stop')", "the connector called exit('stop')"),
            (HEAD.replace("return [", "raise OSError('no route') or [") + "    pass" + TAIL, "OSError: no route"),
        ],
    )
    def test_it_cannot_be_started(self, make: Make, source: str, sentence: str) -> None:
        folder = make()
        (folder / "connector.py").write_text(source)
        observation = seen(folder)
        assert observation.ending.kind == "failed"
        assert sentence in observation.ending.sentence
        assert observation.total_rows == 0

    def test_its_modules_may_have_the_names_of_ours(self, make: Make) -> None:
        folder = make("import shared, tests, running", "assert shared.MINE and tests.MINE and running.MINE", "send(1)")
        for name in ("shared", "tests", "running"):
            (folder / f"{name}.py").write_text("MINE = True")
        observation = seen(folder)
        assert observation.ending.kind == "finished", observation.ending

    def test_the_state_is_given_to_it(self, make: Make) -> None:
        assert seen(make("send(state['n'])"), state={"n": 3}).rows == {"items": 3}

    def test_its_exception_has_a_text_that_cannot_be_made(self, make: Make) -> None:
        folder = make("class E(Exception):", "    def __str__(self): raise ValueError", "raise E")
        assert seen(folder).ending.sentence == "E: (its text cannot be shown)"

    def test_its_exception_has_a_very_long_text(self, make: Make) -> None:
        ending = seen(make("raise ValueError('x' * 5_000_000)")).ending
        assert len(ending.sentence) < 600
        assert ending.sentence.endswith("(5,000,012 characters)")
        assert sum(map(len, ending.trace)) < 10_000

    def test_it_removes_all_temporary_files(self, make: Make) -> None:
        folder = make(
            "import glob, shutil, tempfile",
            "for path in glob.glob(os.path.dirname(tempfile.gettempdir()) + '/*'):",
            "    shutil.rmtree(path, ignore_errors=True)",
            "    os.path.isfile(path) and os.remove(path)",
            "send(10)",
            "time.sleep(0.2)",
        )
        observation = seen(folder)
        assert (observation.ending.kind, observation.rows) == ("finished", {"items": 10})

    def test_it_is_async(self, make: Make) -> None:
        folder = make("pass")
        text = (folder / "connector.py").read_text()
        (folder / "connector.py").write_text(text.replace("def update", "async def update"))
        assert "update() is async" in seen(folder).ending.sentence

    def test_it_takes_all_memory_before_update(self, make: Make) -> None:
        folder = make("pass")
        text = (folder / "connector.py").read_text()
        (folder / "connector.py").write_text(text + "kept = bytearray(300_000_000)\ntime.sleep(1)\n")
        ending = seen(folder, limit=200 * MB).ending
        assert (ending.kind, ending.sentence) == (
            "limit",
            "it reached 200 MB before update(): at import or in schema()",
        )

    def test_what_it_forks_is_counted_once(self, make: Make) -> None:
        folder = make(
            "held = bytearray(150_000_000)",
            "children = [os.fork() for _ in range(1)]",
            "if 0 in children: time.sleep(1.5); os._exit(0)",
            "time.sleep(1.2)",
            "send(10)",
        )
        observation = seen(folder, limit=300 * MB)
        assert observation.ending.kind == "finished"
        assert observation.peak.resident - observation.baseline < 200 * MB

    def test_it_reads_files_beside_it(self, make: Make) -> None:
        assert seen(make("open('configuration.json').read()")).ending.kind == "finished"

    def test_it_leaves_nothing_in_the_temporary_folder(
        self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept = tmp_path / "tmp"
        kept.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(kept))
        seen(make("import tempfile", "tempfile.mkdtemp()", "send(10)"))
        assert list(kept.iterdir()) == []


class TestLookingChangesNothing:
    def test_what_the_connector_lets_go_is_let_go(self, make: Make) -> None:
        folder = make(
            "import gc",
            "gc.disable()",
            "for page in range(40):",
            "    rows = bytearray(20_000_000)",
            "    time.sleep(0.06)",
        )
        observation = seen(folder)
        assert observation.peak.resident - observation.baseline < 70 * MB


def _runs(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return psutil.pid_exists(pid) and bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


class TestWhichLineHoldsTheMemory:
    def test_what_a_library_allocates_is_the_line_that_called_it(self, make: Make) -> None:
        folder = make(
            "text = json.dumps([{'id': n, 'name': 'x' * 50} for n in range(20_000)])",
            "rows = json.loads(text)",
            "time.sleep(0.3)",
            "for row in rows: op.upsert('items', row)",
        )
        observation = seen(folder, allocations=True)
        most = max(observation.snapshots, key=lambda snapshot: snapshot.traced)
        top = most.holdings[0]
        assert str(top.place) == f"connector.py:{FIRST_LINE + 1}"
        assert top.place.source == "rows = json.loads(text)"
        assert top.via.startswith("json/decoder.py:")
        assert top.count > 40_000
        assert top.size > 4 * MB
        assert observation.allocations_ending is not None
        assert observation.allocations_ending.kind == "finished"

    def test_what_is_kept_after_update_is_in_the_last_snapshot(self, make: Make) -> None:
        folder = make("kept = [bytes(1000) for _ in range(5000)]", "threading.kept = kept", "send(10)")
        last = seen(folder, allocations=True).snapshots[-1]
        assert last.label == "after update()"
        assert str(last.holdings[0].place) == f"connector.py:{FIRST_LINE}"
        assert last.holdings[0].size > 4 * MB

    def test_memory_of_a_library_is_told_by_the_line_that_ran(self, make: Make) -> None:
        folder = make(
            "import mmap",
            "area = mmap.mmap(-1, 150_000_000)",
            "for n in range(150): area[n * 1_000_000:(n + 1) * 1_000_000] = b'x' * 1_000_000; time.sleep(0.005)",
            "send(10)",
        )
        observation = seen(folder, allocations=True)
        assert observation.grown_is_exact
        assert str(observation.grown[0].place) == f"connector.py:{FIRST_LINE + 2}"
        assert observation.grown[0].size > 100 * MB


class TestStacks:
    def test_time_is_split_by_what_a_line_does(self, make: Make) -> None:
        folder = make(
            "text = json.dumps([{'id': n, 'name': 'x' * 50} for n in range(20_000)])",
            "for _ in range(40): json.loads(text)",
            "time.sleep(1.0)",
        )
        observation = seen(folder, stacks=True)
        if not observation.stacks:
            assert any("py-spy" in note for note in observation.notes)
            pytest.skip("py-spy may not look at processes here")
        split = stacks.time_split(observation)
        assert sum(split.values()) == pytest.approx(observation.seconds, rel=0.15)
        assert split["waiting"] > 0.8
        assert split["decoding"] > split["own code"]
        assert all(stack.frames[0].startswith("update (connector.py:") for stack in stacks.update_stacks(observation))

    def test_stacks_of_py_spy_are_read(self) -> None:
        raw = (
            "thread (0x7F): MainThread;main (/r/profiling/x.py:1);update (/c/connector.py:3);loads (/l/json/a.py:9) 7\n"
            "thread (0x8F): worker_0;run (/c/shared/pages.py:5) 2\n"
        )
        first, second = stacks.read(raw, Path("/c"))
        assert (first.thread, first.frames[1:], first.samples) == (
            "MainThread",
            ("update (connector.py:3)", "loads (/l/json/a.py:9)"),
            7,
        )
        assert (second.thread, second.frames, second.samples) == ("worker_0", ("run (shared/pages.py:5)",), 2)

    @pytest.mark.parametrize(
        ("files", "category"),
        [
            (["connector.py", "requests/models.py", "json/decoder.py"], "decoding"),
            (["connector.py", "requests/sessions.py", "urllib3/response.py"], "fetching"),
            (["connector.py", "shared/pages.py"], "own code"),
            (["connector.py", "fivetran_connector_sdk_cli/operations.py", "json/encoder.py"], "op.*"),
            (["connector.py", "fivetran_connector_sdk_cli/operations.py", "profiling/profiled.py"], "profiler"),
            (["connector.py", "threading.py"], "own code"),
        ],
    )
    def test_the_innermost_file_says_what_a_stack_does(self, files: list[str], category: str) -> None:
        assert stacks.category_of([f"f ({file}:1)" for file in files]) == category


def profile(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "profiling.profile_connector", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


class TestCommand:
    def test_the_first_lines_say_what_is_wrong_and_which_line_does_it(self, make: Make, tmp_path: Path) -> None:
        folder = make(
            "rows = []",
            "for page in range(40):",
            "    rows.extend({'id': page * 1000 + n, 'name': f'item {n} ' * 250} for n in range(1000))",
            "for row in rows: op.upsert('items', row)",
            configuration={"api_key": "never-to-be-seen"},
        )
        report = tmp_path / "report.html"
        run = profile(folder, "--output", report)
        assert run.returncode == 0, run.stderr
        shown = [line for line in run.stdout.splitlines() if not line.startswith((" ", "running"))]
        assert "collects before it sends" in shown[0]
        assert f"connector.py:{FIRST_LINE + 2}" in shown[1]
        assert "Memory usage [before update]: 0." in run.stdout
        assert "--- Top 10 memory consumers [at the peak] ---" in run.stdout
        page = report.read_text()
        assert "collects before it sends" in page
        assert f"connector.py:{FIRST_LINE + 2}" in page
        assert "never-to-be-seen" not in page + run.stdout + run.stderr

    def test_a_connector_that_fails_is_reported_all_the_same(self, make: Make, tmp_path: Path) -> None:
        report = tmp_path / "report.html"
        run = profile(make("raise ValueError('half a page')"), "--output", report, "--no-allocations")
        assert run.returncode == 1
        assert "ValueError: half a page" in run.stdout
        assert "ValueError: half a page" in report.read_text()

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["{tmp}/none"], "profile: {tmp}/none is no folder: name a folder with one, or one of files, "),
            (["{tmp}"], "profile: {tmp} has no connector.py: name a folder with one, or one of files, "),
            (["{items}", "--configuration", "{tmp}/c.json"], "profile: the configuration {tmp}/c.json cannot be read"),
            (["{items}", "--configuration", "{items}/connector.py"], "is no JSON: "),
            (["{items}", "--state", "{tmp}/list.json"], "profile: the state {tmp}/list.json is no JSON object, such"),
            (["{bare}"], "profile: {bare} has no configuration.json: name one with --configuration FILE"),
        ],
    )
    def test_bad_input_is_one_sentence(self, make: Make, tmp_path: Path, arguments: list[str], sentence: str) -> None:
        bare = make("pass", name="bare")
        (bare / "configuration.json").unlink()
        (tmp_path / "list.json").write_text("[]")
        names = {"tmp": tmp_path, "items": make("pass"), "bare": bare}
        run = profile(*(argument.format(**names) for argument in arguments))
        assert run.returncode == 2
        assert sentence.format(**names) in run.stderr
        assert len(run.stderr.splitlines()) == 1
        assert run.stdout == ""

    @pytest.mark.parametrize(
        "arguments", [["--limit", "-5"], ["--seconds", "nan"], ["--hung", "0"], ["--seconds", "soon"]]
    )
    def test_numbers_that_are_none_are_refused(self, make: Make, arguments: list[str]) -> None:
        run = profile(make("pass"), *arguments)
        assert run.returncode == 2
        assert f"{arguments[1]} is no number" in run.stderr

    def test_a_report_that_cannot_be_written_is_told_before_anything_runs(self, make: Make, tmp_path: Path) -> None:
        run = profile(make("pass"), "--output", tmp_path)
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr == f"profile: the report {tmp_path} cannot be written: Is a directory\n"

    def test_without_a_limit_and_with_a_closed_pipe_there_is_a_report(self, make: Make, tmp_path: Path) -> None:
        report = tmp_path / "report.html"
        command = (
            f"{sys.executable} -m profiling.profile_connector {make('send(10)')} --limit 0 --output {report} | true"
        )
        run = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
        assert run.stderr == ""
        assert "no limit was set" in report.read_text()

    def test_no_folder_is_told_to_who_calls_it_too(self, tmp_path: Path) -> None:
        with pytest.raises(ProfileError, match=r"has no connector\.py"):
            seen(tmp_path)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_stops_it_and_the_report_is_written(
        self, make: Make, tmp_path: Path, number: signal.Signals
    ) -> None:
        report = tmp_path / "report.html"
        folder = make("send(10)", "time.sleep(60)")
        command = [sys.executable, "-m", "profiling.profile_connector", str(folder), "--output", str(report)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(3)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        assert "it was stopped by hand" in said
        assert "it was stopped by hand" in report.read_text()
