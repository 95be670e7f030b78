"""The gallery of the causes of high memory: what its README says of each connector is so."""

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from profiling import findings
from profiling.causes import measuring, sources
from profiling.causes.__main__ import HTTP_PORT, POSTGRES_PORT
from profiling.causes.gallery import CAUSES, FOLDER, KINDS, LARGE, SMALL, Cause, Kind
from profiling.causes.measuring import Measured
from profiling.causes.sources import Sources
from profiling.running import Request, observe
from tests.recording import sync

# Less than `make causes` measures with, to take less time.
FEW, MANY = 3_000, 30_000
BAD_LINE = "# BAD"

each_cause = pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def started() -> Iterator[Sources]:
    with sources.start([FEW, MANY]) as running:
        yield running


@pytest.fixture(scope="module", params=CAUSES, ids=lambda cause: cause.name)
def measured(request: pytest.FixtureRequest, started: Sources) -> Measured:
    return measuring.measure(started, request.param, FEW, MANY)


class TestWhatGrowsAndWhatDoesNot:
    def test_the_bad_one_grows_with_the_data(self, measured: Measured) -> None:
        small, large = measured.growth_mb("bad", FEW), measured.growth_mb("bad", MANY)
        assert large > 40
        assert large > 3 * small

    def test_the_good_one_does_not(self, measured: Measured) -> None:
        small, large = measured.growth_mb("good", FEW), measured.growth_mb("good", MANY)
        assert large < small + 16
        assert large < measured.growth_mb("bad", MANY) / 4

    # On a fast machine so few rows may be over before there are samples enough for a verdict; then it says so.
    def test_the_report_never_praises_the_bad_one(self, measured: Measured) -> None:
        verdict = findings.judge(measured.runs["bad", MANY])
        assert verdict.severity != "good", verdict.headline

    def test_the_report_never_blames_the_good_one(self, measured: Measured) -> None:
        verdict = findings.judge(measured.runs["good", MANY])
        assert verdict.severity in ("good", "unknown"), verdict.headline


@each_cause
class TestBothDeliverTheSame:
    def test_the_same_rows(self, cause: Cause, started: Sources) -> None:
        bad, good = (
            sync(connector_of(cause, kind), started.configuration(cause.folder(kind), FEW)).destination
            for kind in KINDS
        )
        assert good.contents(), "no rows prove nothing"
        assert good.contents() == bad.contents()
        assert good.keys == bad.keys


@each_cause
class TestTheGoodOneGoesOnWhereItWasStopped:
    def test_nothing_is_lost_and_not_all_is_sent_again(self, cause: Cause, started: Sources) -> None:
        connector, configuration = connector_of(cause, "good"), started.configuration(cause.folder("good"), FEW)
        undisturbed = sync(connector, configuration)
        killed = sync(connector, configuration, stop_at=undisturbed.operations * 2 // 3)
        destination = killed.destination.after_crash()
        resumed = sync(connector, configuration, destination)
        assert destination.contents() == undisturbed.destination.contents()
        assert resumed.operations < 0.7 * undisturbed.operations

    def test_a_sync_with_nothing_new_sends_a_page_at_most(self, cause: Cause, started: Sources) -> None:
        connector, configuration = connector_of(cause, "good"), started.configuration(cause.folder("good"), FEW)
        first = sync(connector, configuration)
        second = sync(connector, configuration, first.destination)
        assert second.operations <= 501

    def test_it_keeps_nothing_in_the_module(self, cause: Cause) -> None:
        module = ast.parse((cause.folder("good") / "connector.py").read_text())
        assigned = [node for node in module.body if isinstance(node, ast.Assign | ast.AnnAssign)]
        mutable = [node for node in assigned if isinstance(node.value, ast.Dict | ast.List | ast.Set | ast.Call)]
        assert [ast.unparse(node) for node in mutable] == ["connector = Connector(update=update, schema=schema)"]
        decorators = [node.decorator_list for node in module.body if isinstance(node, ast.FunctionDef)]
        assert not any(decorators), "a cache of a function of the module is the module's"


@each_cause
def test_the_report_names_the_line(cause: Cause, started: Sources) -> None:
    folder = cause.folder("bad")
    run = observe(Request(folder, started.configuration(folder, FEW), stacks=False))
    assert run.ending.kind == "finished", run.ending.sentence
    named = findings.lines(run)[0].place
    line = line_of(folder / "connector.py", named.line)
    assert BAD_LINE in line, str(named)
    assert "kept here" not in line, "where objects are made and who keeps them are two lines: the first can be traced"


@each_cause
class TestItsParts:
    def test_the_bad_line_is_marked_in_the_bad_one_alone(self, cause: Cause) -> None:
        bad, good = ((cause.folder(kind) / "connector.py").read_text() for kind in KINDS)
        assert 1 <= bad.count(BAD_LINE) <= 2
        assert BAD_LINE not in good

    @each_kind
    def test_the_docstring_says_which_it_is(self, cause: Cause, kind: Kind) -> None:
        docstring = connector_of(cause, kind).__doc__ or ""
        assert f"\n{kind.capitalize()}: " in docstring

    @each_kind
    def test_it_is_short_and_needs_nothing_of_this_repository(self, cause: Cause, kind: Kind) -> None:
        text = (cause.folder(kind) / "connector.py").read_text()
        assert 25 <= len(text.splitlines()) <= 60
        imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE))
        assert not imported & {"shared", "profiling", "tests"}

    @each_kind
    def test_its_configuration_is_that_of_the_served_sources(self, cause: Cause, kind: Kind) -> None:
        folder = cause.folder(kind)
        served = Sources(f"http://{sources.HOST}:{HTTP_PORT}", POSTGRES_PORT)
        assert json.loads((folder / "configuration.json").read_text()) == served.configuration(folder, LARGE)

    def test_the_readme_has_its_picture_and_figures(self, cause: Cause) -> None:
        text = measuring.README.read_text()
        section = text.partition(f"\n## {cause.name}\n")[2].partition("\n## ")[0]
        assert f"({cause.name}/picture.svg)" in section
        for kind in KINDS:
            assert re.search(
                rf"^\| \[{kind}\]\({cause.name}/{kind}/connector.py\) (\| \+\d+ MB ){{2}}\|$", section, re.M
            )
        assert f"| {cause.amount(SMALL)} | {cause.amount(LARGE)} |" in section
        assert re.search(rf"^\| \[{cause.name}\]\(#{cause.name}\): .+ (\| \+\d+ MB ){{4}}\|$", text, re.M)

    def test_its_picture_is_one(self, cause: Cause) -> None:
        picture = cause.picture.read_text()
        assert picture.startswith("<svg ")
        assert cause.amount(LARGE) in picture


class TestTheFiguresAreWritten:
    def test_between_the_marks_and_nowhere_else(self, measured: Measured) -> None:
        text = measuring.README.read_text()
        written = measuring.with_figures(text, [measured])
        growth = f"| +{measured.growth_mb('bad', MANY):.0f} MB |"
        section = written.partition(f"<!-- figures of {measured.cause.name}:")[2].partition("<!-- end")[0]
        assert growth in section
        assert without_figures(written) == without_figures(text)

    def test_a_readme_without_marks_is_told(self, measured: Measured) -> None:
        with pytest.raises(ValueError, match="the README needs the lines"):
            measuring.with_figures("# Seven causes", [measured])

    def test_the_terminal_has_a_line_for_each(self, measured: Measured) -> None:
        headings, line = measuring.terminal_table([measured]).splitlines()
        assert headings.split("   ")[0].strip() == "cause"
        assert line.startswith(measured.cause.name)
        assert line.endswith(measured.shape)
        assert line.count(" MB") == 4


def test_a_run_that_fails_has_no_figures() -> None:
    nowhere = Sources("http://127.0.0.1:9", 9)
    with pytest.raises(RuntimeError, match="collected/bad did not reach its end: .*Connection"):
        measuring.run_of(nowhere, CAUSES[0], "bad", FEW)


def test_a_port_in_use_is_told(started: Sources) -> None:
    port = int(started.url.rpartition(":")[2])
    with pytest.raises(RuntimeError, match=f"cannot listen on port {port}"), sources.start([], http_port=port):
        pass


def test_every_folder_is_declared() -> None:
    assert {path.parent.parent.name for path in FOLDER.glob("*/bad/connector.py")} == {cause.name for cause in CAUSES}


def connector_of(cause: Cause, kind: Kind) -> ModuleType:
    """The connector's module, loaded afresh."""
    spec = importlib.util.spec_from_file_location("connector", cause.folder(kind) / "connector.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line_of(path: Path, number: int) -> str:
    return path.read_text().splitlines()[number - 1]


def without_figures(text: str) -> str:
    return re.sub(r"(<!-- figures of \w+:[^>]*-->).*?(<!-- end of)", r"\1\2", text, flags=re.DOTALL)
