"""Reads a package without importing it, and finds what breaks the rules of the house."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

FLOORS = (
    ("spec", "wording"),
    ("layers", "data"),
    ("models",),
    ("engine",),
    ("predict", "stream", "export", "optimize", "benchmark", "report"),
    ("demo", "compare", "serve"),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
DOORS = ("kinema", "kinema.__main__")  # they may import every room, and no room imports them
COLD = ("kinema", "kinema.spec", "kinema.engine.recipe", "kinema.cli", "kinema.wording")
HEAVY = ("torch", "torchvision", "torchmetrics", "timm", "lightning", "matplotlib")
FORBIDDEN_NAMES = ("utils", "util", "helpers", "helper", "common", "misc")
MAX_LINES_OF_FILE = 300
MAX_LINES_OF_FUNCTION = 60
MACHINE_PATH = re.compile(r"(?<![\w.:/<>-])(?:/(?:home|Users|root|work|mnt|tmp)/\w|[A-Z]:\\\w)")


@dataclass(frozen=True)
class Import:
    """One import statement: where it stands, what it asks for, and whether importing the file runs it."""

    source: str
    line: int
    target: str
    at_import: bool


class House:
    """All Python files of a package, by dotted name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trees: dict[str, ast.Module] = {}
        self.files: dict[str, Path] = {}
        for path in sorted(root.rglob("*.py")):
            parts = (root.name, *path.relative_to(root).with_suffix("").parts)
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            self.files[name] = path
            self.trees[name] = ast.parse(path.read_text(encoding="utf-8"))
        self.imports = [found for name in self.trees for found in self._read_imports(name)]

    def module_of(self, dotted: str) -> str | None:
        """The longest beginning of a dotted name that is a file of the house."""
        while dotted and dotted not in self.files:
            dotted = dotted.rpartition(".")[0]
        return dotted or None

    def _read_imports(self, name: str) -> Iterator[Import]:
        for node, at_import in statements(self.trees[name], at_import=True):
            for target in self._targets(name, node):
                yield Import(source=name, line=node.lineno, target=target, at_import=at_import)

    def _targets(self, name: str, node: ast.stmt | ast.expr) -> list[str]:
        if isinstance(node, ast.Import):
            return [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                package = name if self.files[name].name == "__init__.py" else name.rpartition(".")[0]
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                start = ".".join([*above, *([node.module] if node.module else [])])
            inner = [f"{start}.{alias.name}" for alias in node.names]
            return [target if target in self.files else start for target in inner]
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                return [node.args[0].value]
        return []


def statements(node: ast.AST, *, at_import: bool) -> Iterator[tuple[ast.stmt | ast.expr, bool]]:
    """Everything inside a node, with whether it runs when the file is imported."""
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for child in node.body:
            yield from inside(child, at_import=False)
        for child in node.orelse:
            yield from inside(child, at_import=at_import)
        return
    for field, value in ast.iter_fields(node):
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and field == "body"
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from inside(child, at_import=at_import and not later)


def inside(node: ast.AST, *, at_import: bool) -> Iterator[tuple[ast.stmt | ast.expr, bool]]:
    if isinstance(node, ast.stmt | ast.expr):
        yield node, at_import
    yield from statements(node, at_import=at_import)


def floor_faults(house: House) -> list[str]:
    """Imports that point up or sideways, and files in no known room."""
    top = house.root.name
    faults = []
    for name in house.files:
        if name not in DOORS and name.split(".")[1] not in FLOOR:
            faults.append(f"{name} is in no room; the rooms are {', '.join(FLOOR)}")
    for found in house.imports:
        target = house.module_of(found.target)
        if target is None or target.split(".")[0] != top or found.source in DOORS:
            continue
        where = f"{found.source}:{found.line} imports {found.target}"
        if target in DOORS:
            faults.append(f"{where}, the public face; import from the room itself")
            continue
        here, there = found.source.split(".")[1], target.split(".")[1]
        if here == there or here not in FLOOR or there not in FLOOR:
            continue
        if FLOOR[there] > FLOOR[here]:
            faults.append(f"{where}, which is on a floor above")
        elif FLOOR[there] == FLOOR[here]:
            faults.append(f"{where}, which is another room of the same floor")
    return faults


def ring_faults(house: House) -> list[str]:
    """Files that import each other in a ring, be it inside functions."""
    graph: dict[str, set[str]] = {name: set() for name in house.files}
    for found in house.imports:
        target = house.module_of(found.target)
        if target is not None and target != found.source and found.source not in DOORS:
            graph[found.source].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(reversed(error.args[1]))]
    return []


def heavy_faults(house: House, names: Iterable[str]) -> list[str]:
    """Heavy packages that importing one of these files imports too, with the way there."""
    faults = []
    for name in names:
        seen = {name}
        ways = [(name,)]
        while ways:
            way = ways.pop()
            for target in [
                *ancestors(way[-1]),
                *(f.target for f in house.imports if f.source == way[-1] and f.at_import),
            ]:
                if target.split(".")[0] in HEAVY:
                    faults.append(" -> ".join((*way, target)))
                module = house.module_of(target)
                if module is not None and module not in seen:
                    seen.add(module)
                    ways.append((*way, module))
    return faults


def ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def size_faults(house: House) -> list[str]:
    """Files and functions that are too long."""
    faults = []
    for name, path in house.files.items():
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > MAX_LINES_OF_FILE:
            faults.append(f"{name} has {count} lines; {MAX_LINES_OF_FILE} is the most")
        for node in ast.walk(house.trees[name]):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > MAX_LINES_OF_FUNCTION:
                    faults.append(
                        f"{name}:{node.lineno} {node.name} has {count} lines; {MAX_LINES_OF_FUNCTION} is the most"
                    )
    return faults


def name_faults(house: House) -> list[str]:
    return [f"{name} says nothing" for name in house.files if set(name.split(".")) & set(FORBIDDEN_NAMES)]


def path_faults(files: Iterable[Path]) -> list[str]:
    """Absolute paths that only one machine has."""
    faults = []
    for path in files:
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if match := MACHINE_PATH.search(text):
                faults.append(f"{path.name}:{line} names {match.group()}...")
    return faults
