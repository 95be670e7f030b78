"""Loads a connector as production does: its folder on sys.path, then `import connector`.

Every connector has modules of the same names, so each is loaded afresh; `shared` stays the repository's one package.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import shared  # before any connector's folder is on sys.path, where its link to the same package would be found first

CONNECTORS = Path(__file__).parents[1] / "connectors"
NAMES = sorted(folder.name for folder in CONNECTORS.iterdir() if (folder / "connector.py").exists())


def load_connector(name: str) -> ModuleType:
    """The module `connector` of connectors/NAME."""
    return load_module(name, "connector")


def load_spec(name: str) -> ModuleType:
    """The module `service_spec` of connectors/NAME."""
    return load_module(name, "service_spec")


def load_module(name: str, module: str) -> ModuleType:
    """A module of connectors/NAME, loaded afresh."""
    folder = CONNECTORS / name
    own = {path.stem for path in folder.glob("*.py")}
    assert Path(shared.__path__[0]) == CONNECTORS.parent / "shared", "another package is called shared"
    before = {key: sys.modules.pop(key) for key in own & sys.modules.keys()}
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    finally:
        sys.path.remove(str(folder))
        for key in own:
            sys.modules.pop(key, None)
        sys.modules.update(before)
