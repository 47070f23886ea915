"""The scripts that write pages of docs/, as modules."""

from __future__ import annotations

from functools import cache
from importlib import util
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).resolve().parents[1] / "docs"


@cache
def load_script(name: str) -> ModuleType:
    """Imports a script of docs/ by its file's name."""
    spec = util.spec_from_file_location(f"write_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
