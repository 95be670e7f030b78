"""What a reader of the repository relies on: connectors have the same parts, and documents say what the code does."""

import ast
import json
import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pathspec
import pytest

from tests.loading import load_connector, load_spec
from tests.readmes import with_blocks

ROOT = Path(__file__).parents[1]
CONNECTORS = sorted(path for path in (ROOT / "connectors").iterdir() if path.is_dir() and path.name[0] not in "._")
SOURCES = sorted([*ROOT.glob("shared/*.py"), *ROOT.glob("connectors/*/*.py")])
PARTS = ("connector.py", "service_spec.py", "README.md", "configuration.json", "requirements.txt")

# What `fivetran package` leaves out of a connector's folder, beside everything that begins with a dot.
DROPPED_FOLDERS = frozenset({"lib", "include", "files", "crash-reports", "__pycache__"})
DROPPED_FILES = frozenset({"destination.json", "options.toml"})

# What Fivetran has installed where a connector runs.
INSTALLED = frozenset({"requests", "urllib3", "fivetran_connector_sdk"})
BY_NAME = frozenset({"import_module", "__import__"})

each_connector = pytest.mark.parametrize("folder", CONNECTORS, ids=lambda folder: folder.name)
each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())


@each_connector
class TestEveryConnectorHasTheSameParts:
    def test_its_files_are_there(self, folder: Path) -> None:
        missing = [part for part in PARTS if not (folder / part).is_file()]
        assert not missing, f"connectors/{folder.name} has no {', '.join(missing)}"

    def test_it_offers_what_the_sdk_calls(self, folder: Path) -> None:
        connector = load_connector(folder.name).connector
        assert callable(connector.schema_method)
        assert callable(connector.update_method)
        assert connector.configuration_form_method().to_response().fields

    def test_shared_is_a_link_that_holds_in_every_clone(self, folder: Path) -> None:
        link = folder / "shared"
        assert link.is_symlink(), f"make it one: ln -s ../../shared connectors/{folder.name}/shared"
        assert os.readlink(link) == "../../shared"

    def test_no_part_is_one_that_packaging_leaves_out(self, folder: Path) -> None:
        left_out = [path for path in _parts_of(folder) if _is_dropped(path.relative_to(folder))]
        assert not left_out, (
            f"{_shown(left_out)}: `fivetran package` leaves this out; rename it, or name it in .gitignore if running "
            "the connector makes it"
        )

    def test_no_part_is_one_that_git_ignores(self, folder: Path) -> None:
        ignored = [folder / part for part in (*PARTS, "shared") if _ignored().match_file(_relative(folder / part))]
        ignored += [path for path in folder.glob("*.py") if _ignored().match_file(_relative(path))]
        assert not ignored, f"{_shown(ignored)}: .gitignore names this, so no clone has it"

    def test_its_modules_have_names_of_their_own(self, folder: Path) -> None:
        # Its folder comes last on sys.path: a module named like an installed one would never be imported.
        taken = sys.stdlib_module_names | packages_distributions().keys()
        names = {path.stem for path in folder.glob("*.py")}
        assert not names & taken, f"{', '.join(names & taken)}: an installed module of that name comes first"


@each_connector
class TestOneDeclarationOfTheSettings:
    def test_configuration_json_is_the_sample(self, folder: Path) -> None:
        sample = load_spec(folder.name).Settings.sample()
        expected = json.dumps(sample, indent=2)
        written = json.loads((folder / "configuration.json").read_text())
        assert list(written.items()) == list(sample.items()), (
            f"connectors/{folder.name}/configuration.json is not what its service_spec.py declares. Keep settings of "
            f"your own in a file outside (see README.md), and run `make readme`, or put this there:\n{expected}"
        )

    def test_configuration_json_is_text_and_holds_no_secret(self, folder: Path) -> None:
        written = json.loads((folder / "configuration.json").read_text())
        assert all(isinstance(value, str) for value in written.values()), "Fivetran hands over text only"
        fields = load_spec(folder.name).Settings.__dataclass_fields__
        filled = [name for name, field in fields.items() if field.metadata["secret"] and written.get(name)]
        assert not filled, f"configuration.json holds a value for the secret {', '.join(filled)}"

    def test_its_readme_shows_the_settings(self, folder: Path) -> None:
        table = load_spec(folder.name).Settings.markdown_table()
        assert table in _text(folder / "README.md"), (
            f"connectors/{folder.name}/README.md does not show the settings as service_spec.py declares them; "
            f"`make readme` writes them, or put this there:\n{table}"
        )

    def test_its_readme_shows_its_other_blocks_as_the_code_has_them(self, folder: Path) -> None:
        text = _text(folder / "README.md")
        written = with_blocks(folder.name, text)
        assert written == text, f"connectors/{folder.name}/README.md is not what its code says: run `make readme`"
        begun = re.findall(r"<!-- (.*): written by `make readme` -->", text)
        ended = re.findall(r"<!-- end of (.*) -->", text)
        assert begun == ended, f"connectors/{folder.name}/README.md: marks of blocks do not match"


@each_source
class TestConnectorsKeepToFivetransRules:
    def test_no_state_outlives_a_sync_in_a_module(self, path: Path) -> None:
        assert not list(_mutable_globals(_tree(path))), "a constant has a name in capitals; all else belongs in a class"

    def test_logs_go_through_the_sdk_and_errors_are_raised(self, path: Path) -> None:
        assert not list(_unwanted_calls(_tree(path))), "use Logging or Operations of the SDK, and raise an error to end"


@pytest.mark.parametrize("path", sorted(ROOT.glob("shared/*.py")), ids=lambda path: path.name)
def test_shared_needs_only_what_fivetran_has_installed(path: Path) -> None:
    allowed = sys.stdlib_module_names | INSTALLED | {"shared"}
    foreign = set(_imports(_tree(path))) - allowed
    assert not foreign, f"{path.name} imports {', '.join(sorted(foreign))}: a connector's package would need it too"


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *(folder / "README.md" for folder in CONNECTORS)], ids=lambda path: _relative(path)
)
def test_every_make_command_of_a_readme_exists(path: Path) -> None:
    _assert_targets_exist(path, set(_make_targets_of_text(_text(path))))


@each_source
def test_every_make_command_of_a_message_exists(path: Path) -> None:
    texts = [node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant)]
    named = {target for text in texts if isinstance(text, str) for target in re.findall(r"[:`] ?make ([\w-]+)", text)}
    _assert_targets_exist(path, named)


class TestTheseChecksSeeWhatTheyLookFor:
    """Checks that never complain prove nothing."""

    def test_mutable_globals(self) -> None:
        source = "LIMITS = {}\na = 1\nb = []\nc: dict = {}\nd = e = set()\n_f = [x for x in y]\ng = Counter()\nh = ()"
        assert list(_mutable_globals(ast.parse(source))) == ["b", "c", "d", "e", "_f", "g"]

    def test_unwanted_calls(self) -> None:
        source = (
            "import logging.config\nfrom logging import info\nprint()\nexit()\nsys.exit()\nos._exit(1)\n"
            "raise SystemExit\nlog.info(1)\nlog.print(2)"
        )
        found = ["logging.config", "logging", "print", "exit", "sys.exit", "os._exit", "SystemExit"]
        assert sorted(_unwanted_calls(ast.parse(source))) == sorted(found)

    def test_imports(self) -> None:
        source = (
            "import os.path, polars as pl\nfrom psycopg2 import sql\nfrom . import own\n"
            "def f():\n  import duckdb\n  import_module('yaml')\n  if find_spec('psutil'): import_module('psutil.x')"
        )
        assert set(_imports(ast.parse(source))) == {"os", "polars", "psycopg2", "duckdb", "yaml"}

    def test_make_targets(self) -> None:
        text = (
            "Please make sure: `make lint test`, or `make demo CONNECTOR=files`.\n"
            "```sh\n$ make -j2 setup  # make it so\ncd x && make sources; make\n```\nmake nothing"
        )
        assert set(_make_targets_of_text(text)) == {"lint", "test", "demo", "setup", "sources"}

    @pytest.mark.parametrize("name", [".env", "lib/a.py", "files/a.csv", "a/include/b", "a/.b/c", "options.toml"])
    def test_dropped(self, name: str) -> None:
        assert _is_dropped(Path(name))

    @pytest.mark.parametrize("name", ["library/a.py", "sample/files.csv", "files.py", "a.b"])
    def test_not_dropped(self, name: str) -> None:
        assert not _is_dropped(Path(name))


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _shown(paths: list[Path]) -> str:
    return ", ".join(map(_relative, paths))


def _text(path: Path) -> str:
    if not path.is_file():
        pytest.fail(f"there is no {_relative(path)}: write it")
    return path.read_text()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _ignored() -> pathspec.GitIgnoreSpec:
    path = ROOT / ".gitignore"
    return pathspec.GitIgnoreSpec.from_lines(path.read_text().splitlines() if path.exists() else [])


def _parts_of(folder: Path) -> Iterator[Path]:
    """The files of a connector, its link followed, as a clone has them: without what .gitignore names."""
    ignored = _ignored()
    for parent, _, names in os.walk(folder, followlinks=True):
        paths = [Path(parent) / name for name in names]
        yield from sorted(path for path in paths if not ignored.match_file(_relative(path)))


def _is_dropped(path: Path) -> bool:
    """Whether `fivetran package` leaves out this path below a connector's folder; configuration.json is known to be."""
    hidden = any(part.startswith(".") for part in path.parts)
    return hidden or not DROPPED_FOLDERS.isdisjoint(path.parts[:-1]) or path.name in DROPPED_FILES


def _mutable_globals(module: ast.Module) -> Iterator[str]:
    """The names in lower case that a module binds to a list, dict or set, or to what is built like one."""
    for statement in module.body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value:
            targets, value = [statement.target], statement.value
        else:
            continue
        if _is_mutable(value):
            yield from (target.id for target in targets if isinstance(target, ast.Name) and not target.id.isupper())


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return _dotted(value.func).rpartition(".")[2] in {
            "list", "dict", "set", "bytearray", "defaultdict", "OrderedDict", "Counter", "deque",
        }  # fmt: skip
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def _unwanted_calls(module: ast.Module) -> Iterator[str]:
    """Prints, the standard library's logging, and ways to end the process."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "logging")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "logging":
            yield "logging"
        elif isinstance(node, ast.Call) and _dotted(node.func) in {"print", "exit", "quit", "sys.exit", "os._exit"}:
            yield _dotted(node.func)
        elif isinstance(node, ast.Name) and node.id == "SystemExit":
            yield node.id


def _imports(module: ast.Module) -> Iterator[str]:
    """The top-level packages that a module imports anywhere, by statement or by name.

    One imported by name only after `find_spec` has found it is not needed, so it does not count.
    """
    optional = set(_first_arguments(module, frozenset({"find_spec"})))
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
    yield from (name for name in _first_arguments(module, BY_NAME) if name not in optional)


def _first_arguments(module: ast.Module, functions: frozenset[str]) -> Iterator[str]:
    """The top-level packages named as the first argument of calls of `functions`; another one is shown as code."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and _dotted(node.func).rpartition(".")[2] in functions and node.args:
            name = node.args[0]
            is_text = isinstance(name, ast.Constant) and isinstance(name.value, str)
            yield str(name.value).partition(".")[0] if is_text else ast.unparse(name)  # type: ignore[attr-defined]


def _dotted(node: ast.expr) -> str:
    """`a.b` for the expression a.b; empty for one that is no name."""
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _make_targets_of_text(text: str) -> Iterator[str]:
    """What follows `make` in a document's code, in the line or in blocks of its own."""
    block = re.compile(r"^\s*```.*?^\s*```", re.MULTILINE | re.DOTALL)
    commands = [line for code in block.findall(text) for line in code.splitlines()]
    commands += re.findall(r"`([^`\n]+)`", block.sub("", text))
    for command in commands:
        for part in re.split(r"&&|\|\|?|;", command.partition("#")[0]):
            words = part.strip().removeprefix("$ ").split()
            if words[:1] == ["make"]:
                yield from (word for word in words[1:] if re.fullmatch(r"[A-Za-z][\w-]*", word))


def _assert_targets_exist(path: Path, named: set[str]) -> None:
    if not named:
        return
    declared = {
        target
        for line in re.findall(r"^([\w][\w -]*):(?!=)", _text(ROOT / "Makefile"), re.MULTILINE)
        for target in line.split()
    }
    missing = sorted(named - declared)
    assert not missing, f"{_relative(path)} says `make {missing[0]}`, and the Makefile has no target {missing}"
