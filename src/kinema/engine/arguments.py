"""The arguments of one command, recipes among them: jsonargparse, with errors in one sentence."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse

from kinema.engine.recipe_files import field_paths, load_yaml
from kinema.wording import nearest

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


class CommandParser(jsonargparse.ArgumentParser):
    """Parses the arguments of a command; refuses unknown ones with the nearest known one."""

    def __init__(self, *, prog: str, description: str) -> None:
        """Starts without arguments."""
        super().__init__(prog=prog, description=description, usage=f"{prog} [options]", exit_on_error=False)
        self.config_class: type | None = None

    def add_flag(self, name: str, *, help: str) -> None:
        """Adds an option without a value."""
        self.add_argument(name, action="store_true", help=help)

    def add_dataclass(self, module: str, name: str, *, config: bool = False) -> None:
        """Adds an option for every field of a tree of dataclasses; with `config`, also one for a YAML file of them."""
        cls = getattr(import_module(module), name)
        if config:
            self.config_class = cls
            self.add_argument("--config", action="config", metavar="FILE", help="YAML file of these values; flags win.")
        self.add_class_arguments(cls, None)
        groups = {f"--{path.rpartition('.')[0]}" for path in field_paths(cls)}
        for action in self._actions:
            if groups.intersection(action.option_strings) or action.dest == "print_config":
                action.help = argparse.SUPPRESS

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        """Returns the values as nested dictionaries.

        Raises:
            ValueError: If an argument is unknown, of another type, or missing.
        """
        self._check_names(argv)
        for file in self._config_files(argv):
            load_yaml(file, cls=self.config_class or dict)
        try:
            values = self.parse_args(list(argv)).as_dict()
        except (jsonargparse.ArgumentError, argparse.ArgumentError) as error:
            raise ValueError(f"{self._sentence(str(error))}; see {self.prog} --help") from error
        values.pop("config", None)
        return values

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises instead of printing and leaving."""
        raise jsonargparse.ArgumentError(None, message) from ex

    def _check_names(self, argv: Sequence[str]) -> None:
        """Refuses options that there are not, before any value is looked at."""
        known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
        leaves = [name for name in known if not any(other.startswith(f"{name}.") for other in known)]
        for word in argv:
            name = word.partition("=")[0]
            if not name.startswith("--") or name in known or any(name.startswith(f"{leaf}.") for leaf in leaves):
                continue
            shown = [option for option in leaves if not option.endswith("+") and option != "--print_config"]
            raise ValueError(f"options must be those of {self.prog}, got {name}; {nearest(name, shown)}")

    def _config_files(self, argv: Sequence[str]) -> Iterator[Path]:
        """Yields the files given by --config."""
        words = iter(argv)
        for word in words:
            name, _, value = word.partition("=")
            if name == "--config":
                yield Path(value or next(words, ""))

    def _sentence(self, message: str) -> str:
        """Puts what jsonargparse says into one line of our words."""
        line = " ".join(message.split())
        match = re.search(r'key "(?P<key>[^"]+)": .*?(Got|Given) value: (?P<value>.*)', line)
        if match is None:
            return line
        kinds = re.findall(r"Expected an? (?:<class '(\w+)'>|typing\.Literal\[(.+?)\])", line)
        wanted = " or ".join(plain or literal.replace(", ", " or ") for plain, literal in kinds)
        return f"{match['key']} must be {wanted or 'of the type that --help says'}, got {match['value']}"
