"""Each connector as Fivetran gets it: packaged by the real command, run alone, deployed and updated.

Packaging and deploying ask no network: the command has a home of its own that says it has just looked for a newer
version, Fivetran is a server of the tests, and the dependency check asks what is installed (tests/tools/pipreqs).
"""

import csv
import json
import os
import shutil
import subprocess
import sysconfig
import time
import venv
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import duckdb
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.loading import CONNECTORS, NAMES, load_spec
from tests.sources import fake_fivetran_api, openmetadata_server, playground, snowplow_server
from tests.sources.fake_fivetran_api import FivetranApi
from tests.sources.playground import Playground
from tests.sources.postgres_server import PostgresServer

ROOT = CONNECTORS.parent
TOOLS = ROOT / "tests" / "tools"
SCRIPTS = Path(sysconfig.get_path("scripts"))
SDK = Requirement("fivetran_connector_sdk")
SECRET = "hunter2-is-in-no-package"
SECONDS = 120

# What the command's dependency check says when a requirements.txt is not right, and how it marks trouble.
COMPLAINTS = (
    "Include the following dependency",
    "not needed",
    "recommend using the current stable version",
    "pipreqs check failed",
    "WARNING",
    "SEVERE",
)
# What running the tests and the connectors leaves in the working folder.
LEFTOVERS = shutil.ignore_patterns("__pycache__", ".*", "files", "crash-reports")

Distributions = Mapping[str, metadata.Distribution]


@dataclass(frozen=True)
class Package:
    """What `fivetran package` made of a copy of a connector, and what it said.

    parts   the contents of the files of the copy, before anything was added that must stay out
    """

    name: str
    parts: Mapping[str, bytes]
    requirements: Path
    archive: Path
    output: str

    def contents(self) -> dict[str, bytes]:
        return _contents(self.archive)


@dataclass(frozen=True)
class Alone:
    """A Python installation that has only the SDK, a connector's requirements and what those need; and its package."""

    python: Path
    distributions: Distributions
    folder: Path

    def run(self, code: str) -> list[str]:
        """Runs code in the package's folder; returns the words it prints."""
        result = subprocess.run(
            [str(self.python), "-c", code], cwd=self.folder, capture_output=True, text=True, timeout=SECONDS
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.split()


Running = TypeVar("Running")


@dataclass(frozen=True)
class Sample:
    """A source with something in it: the settings to read it with, and how many rows of which tables arrive."""

    configuration: Mapping[str, str]
    rows: Mapping[str, int]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder whose owner has asked for a newer version of the SDK a moment ago."""
    return _new_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module", params=NAMES)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, home: Path) -> Package:
    """Each connector's package, made in a folder with everything in it that must stay out."""
    folder = _copied(request.param, tmp_path_factory.mktemp("repository"))
    parts = {
        (path := Path(parent, name)).relative_to(folder).as_posix(): path.read_bytes()
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
    }
    _add_what_must_stay_out(folder)
    result = _fivetran(home, "package", folder, "--non-interactive")
    assert result.returncode == 0, result.stdout
    return Package(
        request.param, parts, folder / "requirements.txt", folder / "files" / f"{folder.name}.zip", result.stdout
    )


@pytest.fixture(scope="module")
def alone(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """The unzipped package beside an installation of its own."""
    parent = tmp_path_factory.mktemp("alone")
    wanted = [SDK, *_requirements(package.contents()["requirements.txt"].decode())]
    distributions = _closure(wanted)
    python = _installation(parent / "python", distributions.values())
    with zipfile.ZipFile(package.archive) as archive:
        archive.extractall(parent / "package")
    return Alone(python, distributions, parent / "package")


@pytest.fixture(scope="module")
def unchanged_playground() -> Iterator[Playground]:
    """A playground in which no test has changed anything.

    Its keyset pages lose records that were changed in the same second as the last of a page, as changes of tests are.
    """
    with playground.start() as server:
        yield server


class TestPackage:
    def test_holds_every_part_of_the_connector_and_nothing_else(self, package: Package) -> None:
        expected = package.parts.keys() - {"configuration.json"} | {"configuration_form.pb"}
        assert package.contents().keys() == expected
        assert {"connector.py", "service_spec.py", "requirements.txt", "shared/__init__.py"} <= expected

    def test_holds_the_files_that_the_link_to_shared_stands_for(self, package: Package) -> None:
        contents = package.contents()
        for path in (ROOT / "shared").glob("*.py"):
            assert contents[f"shared/{path.name}"] == path.read_bytes()

    def test_holds_no_secret_no_configuration_and_nothing_hidden(self, package: Package) -> None:
        contents = package.contents()
        assert not [name for name, content in contents.items() if SECRET.encode() in content]
        unwanted = ("configuration.json", "__pycache__", "files/")
        assert not [name for name in contents if any(part in name for part in unwanted)]
        assert not [name for name in contents if any(part.startswith(".") for part in Path(name).parts)]

    def test_has_requirements_that_the_dependency_check_agrees_with(self, package: Package) -> None:
        found = [complaint for complaint in COMPLAINTS if complaint in package.output]
        assert not found, package.output
        assert package.requirements.read_bytes() == package.parts["requirements.txt"], "the command has changed them"

    def test_brings_a_setup_form_with_every_setting(self, package: Package) -> None:
        form = package.contents()["configuration_form.pb"]
        assert not [name for name in load_spec(package.name).Settings.sample() if name.encode() not in form]


class TestRunsWithTheSdkAndItsOwnRequirementsOnly:
    def test_nothing_else_can_be_imported(self, alone: Alone) -> None:
        others = {
            module
            for module, owners in metadata.packages_distributions().items()
            if not {canonicalize_name(owner) for owner in owners} & alone.distributions.keys()
        }
        assert {"pytest", "moto", "ruff"} <= others
        code = f"from importlib.util import find_spec\nprint(*(name for name in {others} if find_spec(name)))"
        assert alone.run(code) == []

    def test_imported_as_production_does(self, alone: Alone) -> None:
        code = (
            "from connector import connector\n"
            "assert callable(connector.schema_method) and callable(connector.update_method)\n"
            "import sys\n"
            "print(*{getattr(module, '__file__', None) or '' for module in sys.modules.values()})"
        )
        python = alone.python.parents[1]
        places = [alone.folder, python, *map(Path, {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})]
        files = [Path(alone.folder, name) for name in alone.run(code)]
        assert alone.folder / "connector.py" in files
        assert alone.folder / "shared" / "__init__.py" in files
        assert not [file for file in files if not any(file.is_relative_to(place) for place in places)]

    def test_its_rows_arrive(
        self, package: Package, alone: Alone, home: Path, request: pytest.FixtureRequest, tmp_path: Path
    ) -> None:
        assert package.name in SAMPLES, (
            f"tests/test_packages.py runs every connector from its package: add a source for connectors/{package.name} "
            "to SAMPLES there"
        )
        sample = SAMPLES[package.name](request)
        configuration = tmp_path / "configuration.json"
        configuration.write_text(json.dumps(sample.configuration))
        result = _fivetran(
            home, "debug", alone.folder, "--configuration", configuration, scripts=alone.python.parent, cwd=tmp_path
        )
        assert result.returncode == 0, result.stdout
        with closing(duckdb.connect(str(alone.folder / "files" / "warehouse.db"), read_only=True)) as warehouse:
            arrived = {table: warehouse.table(f"tester.{table}").count("*").fetchall()[0][0] for table in sample.rows}
        assert arrived == sample.rows


class TestDeployed:
    """By the real command, to the part of Fivetran's API that it calls."""

    @pytest.fixture
    def api(self) -> Iterator[FivetranApi]:
        with fake_fivetran_api.start() as api:
            yield api

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A connector with a secret in its configuration."""
        folder = _copied("postgres", tmp_path / "repository")
        configuration = load_spec("postgres").Settings.sample() | {"password": SECRET}
        (folder / "configuration.json").write_text(json.dumps(configuration))
        return folder

    def test_created_and_then_updated(self, api: FivetranApi, folder: Path, tmp_path: Path) -> None:
        home = _new_home(tmp_path / "home", api)
        configuration = json.loads((folder / "configuration.json").read_text())

        created = _deploy(home, folder, api.api_key)
        assert created.returncode == 0, created.stdout
        [(connection_id, connection)] = api.connections.items()
        assert connection["schema"] == "my_connection"
        assert _secrets(connection) == configuration
        first = connection["config"]["package_id"]

        (folder / "configuration.json").write_text(json.dumps(configuration | {"host": "db.example.com"}))
        updated = _deploy(home, folder, api.api_key, "--python-version", "3.12")
        assert updated.returncode == 0, updated.stdout
        assert list(api.connections) == [connection_id]
        assert _secrets(connection) == configuration | {"host": "db.example.com"}
        assert connection["config"]["python_version"] == "3.12"
        assert connection["config"]["package_id"] != first

        packaged = _fivetran(home, "package", folder)
        assert packaged.returncode == 0, packaged.stdout
        expected = _contents(folder / "files" / f"{folder.name}.zip")
        assert "configuration.json" not in expected
        for uploaded in api.packages.values():
            archive = tmp_path / "uploaded.zip"
            archive.write_bytes(uploaded)
            assert _contents(archive) == expected
        assert SECRET not in created.stdout + updated.stdout

    def test_a_wrong_key_is_told_and_changes_nothing(self, api: FivetranApi, folder: Path, tmp_path: Path) -> None:
        result = _deploy(_new_home(tmp_path / "home", api), folder, "d3Jvbmc6a2V5")
        assert result.returncode == 1
        assert "401" in result.stdout
        assert "valid base64-encoded API key" in result.stdout
        assert "Traceback" not in result.stdout
        assert not api.packages
        assert not api.connections


def _postgres_sample(request: pytest.FixtureRequest) -> Sample:
    server: PostgresServer = request.getfixturevalue("postgres")
    server.create_database("packages")
    with closing(server.connect("packages")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE prices (id int PRIMARY KEY, name text, price numeric(10, 2))")
        cursor.execute("INSERT INTO prices SELECT id, 'name ' || id, id / 100.0 FROM generate_series(1, 250) AS id")
    settings = {"host": server.host, "port": str(server.port), "user": server.user, "password": server.password}
    return Sample({**load_spec("postgres").Settings.sample(), **settings, "database": "packages"}, {"prices": 250})


def _rest_api_sample(request: pytest.FixtureRequest) -> Sample:
    server: Playground = request.getfixturevalue("unchanged_playground")
    data = server.dump()
    users = ("users_by_next_link", "users_by_page_number", "users_by_offset", "users_by_keyset", "users_since")
    rows = {
        **dict.fromkeys(users, len(data["items"])),
        **{name: len(data[name]) for name in ("companies", "departments")},
    }
    return Sample({**load_spec("rest_api").Settings.sample(), "base_url": server.url}, rows)


def _files_sample(_: pytest.FixtureRequest) -> Sample:
    """The files that come with the connector."""
    configuration = load_spec("files").Settings.sample()
    rows = 0
    table, pattern = configuration["tables"].split(" = ")
    for path in (CONNECTORS / "files" / configuration["location"]).glob(pattern):
        with path.open(newline="") as file:
            rows += sum(1 for _ in csv.DictReader(file))
    assert rows, "connectors/files has no sample data"
    return Sample(configuration, {table: rows})


def _snowplow_sample(request: pytest.FixtureRequest) -> Sample:
    server = _running(snowplow_server.start(now=None), request)
    configuration = {
        "base_url": server.url,
        "organization_id": server.organization_id,
        "api_key_id": server.api_key_id,
        "api_key": server.api_key,
    }
    rows = {name: len(server.truth(name)) for name in ("data_structures", "pipelines", "users", "job_runs")}
    return Sample({**load_spec("snowplow").Settings.sample(), **configuration}, rows)


def _openmetadata_sample(request: pytest.FixtureRequest) -> Sample:
    server = _running(openmetadata_server.start(), request)
    rows = {name: len(list(server.truth(name))) for name in ("tables", "dashboards", "users")}
    configuration = {"base_url": server.api_url, "token": server.token}
    return Sample({**load_spec("openmetadata").Settings.sample(), **configuration}, rows)


def _running(starting: AbstractContextManager[Running], request: pytest.FixtureRequest) -> Running:
    """What is started for one test."""
    running = ExitStack()
    request.addfinalizer(running.close)
    return running.enter_context(starting)


SAMPLES: Mapping[str, Callable[[pytest.FixtureRequest], Sample]] = {
    "files": _files_sample,
    "openmetadata": _openmetadata_sample,
    "postgres": _postgres_sample,
    "rest_api": _rest_api_sample,
    "snowplow": _snowplow_sample,
}


def _new_home(folder: Path, api: FivetranApi | None = None) -> Path:
    """A home folder for the command: no version check is due, and Fivetran is at `api`, if there is one."""
    settings = folder / ".fivetran" / "connector_sdk"
    settings.mkdir(parents=True)
    (settings / "_last_version_check").write_text(str(int(time.time())))
    if api:
        (settings / "_config.json").write_text(json.dumps({"production_base_url": api.url}))
    return folder


def _fivetran(
    home: Path, *arguments: str | Path, scripts: Path = SCRIPTS, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command of an installation, with nothing of the developer's own settings."""
    environment = {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(TOOLS), str(scripts), os.environ["PATH"]]),
        "DO_NOT_TRACK": "1",
        "PYTHONUTF8": "1",
    }
    return subprocess.run(
        [scripts / "fivetran", *arguments],
        cwd=cwd or home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
    )


def _deploy(home: Path, folder: Path, api_key: str, *more: str) -> subprocess.CompletedProcess[str]:
    where = ["--destination", "warehouse", "--connection", "my_connection"]
    configuration = folder / "configuration.json"
    return _fivetran(
        home, "deploy", folder, "--api-key", api_key, *where, "--configuration", configuration, "--yes", *more
    )


def _secrets(connection: Mapping[str, dict[str, list[dict[str, str]]]]) -> dict[str, str]:
    return {secret["key"]: secret["value"] for secret in connection["config"]["secrets_list"]}


def _copied(name: str, repository: Path) -> Path:
    """A connector in a folder that may be written to, with its link, as a clone of the repository has it."""
    shutil.copytree(ROOT / "shared", repository / "shared", ignore=LEFTOVERS)
    folder = repository / "connectors" / name
    shutil.copytree(CONNECTORS / name, folder, symlinks=True, ignore=LEFTOVERS)
    return folder


def _add_what_must_stay_out(folder: Path) -> None:
    """Puts a secret into every place where a working folder may have one."""
    configuration = json.loads((folder / "configuration.json").read_text())
    (folder / "configuration.json").write_text(json.dumps(dict.fromkeys(configuration, SECRET)))
    for place in (".env", ".idea/a.xml", "shared/.env", "files/state.json", "crash-reports/a.log", "__pycache__/a.pyc"):
        path = folder / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(SECRET)


def _contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def _requirements(text: str) -> Iterator[Requirement]:
    """The requirements of a requirements.txt."""
    for line in text.splitlines():
        if requirement := line.partition("#")[0].strip():
            yield Requirement(requirement)


def _closure(requirements: Iterable[Requirement]) -> Distributions:
    """What is installed here of some requirements and of everything that those need, by canonical name."""
    found: dict[str, metadata.Distribution] = {}
    seen = set()
    wanted = list(requirements)
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        found[name] = metadata.distribution(requirement.name)
        version = found[name].version
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, but {version} is installed"
        wanted += _needed(found[name], requirement.extras)
    return found


def _needed(distribution: metadata.Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    for requirement in map(Requirement, distribution.requires or ()):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def _installation(folder: Path, distributions: Iterable[metadata.Distribution]) -> Path:
    """A virtual environment of nothing but `distributions`, which it shares with this one; returns its Python."""
    venv.create(folder, symlinks=True, with_pip=False)
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    scripts = Path(sysconfig.get_path("scripts", "venv", paths))
    python = scripts / "python"
    for distribution in distributions:
        for entry in _entries(distribution):
            link = site / entry
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(str(distribution.locate_file(entry))))
        for script in distribution.entry_points.select(group="console_scripts", name="fivetran"):
            start = f"#!{python}\nimport sys\nfrom {script.module} import {script.attr}\nsys.exit({script.attr}())\n"
            (scripts / script.name).write_text(start)
            (scripts / script.name).chmod(0o755)
    return python


def _entries(distribution: metadata.Distribution) -> set[str]:
    """What to link in the folder of packages: whole packages, but the metadata file by file.

    The dependency check looks for the metadata of what is installed, and follows no link to a folder.
    """
    assert distribution.files, f"{distribution.name} does not say which files it has"
    parts = [file.parts for file in distribution.files if file.parts[0] not in ("..", "__pycache__")]
    inits = {part[0] for part in parts if part[1:] == ("__init__.py",)}
    return {"/".join(part[: _depth(part, inits)]) for part in parts}


def _depth(part: tuple[str, ...], inits: set[str]) -> int:
    """How many parts of a file's path name what is linked; a folder that is no package may be shared by several."""
    if part[0].endswith(".dist-info"):
        return len(part)
    return 1 if part[0] in inits else 2
