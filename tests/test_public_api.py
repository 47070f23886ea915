"""The public face: every name resolves, is documented, and costs nothing until it is used."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

import kinema

DOCS = Path(__file__).resolve().parents[1] / "docs"
HEAVY = {"torch", "torchvision", "timm", "lightning", "matplotlib", "av", "numpy"}
NAMES = sorted(set(kinema.__all__) - {"__version__"})


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_the_one_of_its_module(name):
    assert getattr(kinema, name) is getattr(import_module(kinema._HOMES[name]), name)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_documented(name):
    value = getattr(kinema, name)
    own = value.__doc__ if inspect.isroutine(value) or inspect.isclass(value) else _string_below(name)
    assert own
    assert own.strip().splitlines()[0].endswith((".", ":")), "the first line of a docstring is a sentence"
    assert re.search(rf"\b{name}\b", (DOCS / "nouns.md").read_text(encoding="utf-8"))


def test_arguments_of_public_functions_are_annotated():
    functions = [value for value in (getattr(kinema, name) for name in NAMES) if inspect.isroutine(value)]
    assert len(functions) >= 5
    for function in functions:
        for parameter in inspect.signature(function).parameters.values():
            assert parameter.annotation is not parameter.empty, (function, parameter)


def test_the_table_of_homes_and_the_list_of_names_agree():
    assert sorted(kinema._HOMES) == NAMES
    assert set(kinema.__all__) <= set(dir(kinema))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="create_modle"):
        _ = kinema.create_modle


def test_the_version_is_the_one_of_the_installed_package():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", kinema.__version__)


def test_importing_kinema_imports_neither_torch_nor_timm():
    code = f"import sys, kinema; dir(kinema); kinema.__version__; print(*({HEAVY} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def _string_below(name: str) -> str | None:
    """The string under a variable, which says what it is."""
    module = import_module(kinema._HOMES[name])
    body = ast.parse(inspect.getsource(module)).body
    for statement, below in pairwise(body):
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else getattr(statement, "targets", [])
        named = any(isinstance(target, ast.Name) and target.id == name for target in targets)
        if named and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            return str(below.value.value)
    return None
