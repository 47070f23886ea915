"""The arguments of one command, recipes among them: jsonargparse, with errors in one sentence."""

from __future__ import annotations

import argparse
import re
from collections import deque
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn, get_args

import jsonargparse

from kinema.engine.recipe.files import field_paths, load_yaml
from kinema.wording import check, nearest

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)


class CommandParser(jsonargparse.ArgumentParser):
    """Parses the arguments of a command; refuses unknown ones with the nearest known one."""

    def __init__(self, *, prog: str, description: str) -> None:
        """Starts without arguments."""
        super().__init__(prog=prog, description=description, usage=f"{prog} [options]", exit_on_error=False)
        self.config_class: type | None = None
        self.group_names: set[str] = set()
        self.suffixes: dict[str, str] = {}

    def add_positional(self, name: str, *, several: bool = False, help: str) -> None:
        """Adds a word that stands without an option's name."""
        self.usage = f"{self.usage} {name.upper()}{' ...' if several else ''}"
        self.add_argument(name, type=str, metavar=name.upper(), nargs="+" if several else None, help=help)

    def add_flag(self, name: str, *, help: str) -> None:
        """Adds an option without a value."""
        self.add_argument(name, action="store_true", help=help)

    def add_optional(self, name: str, *, suffix: str, otherwise: str, help: str) -> None:
        """Adds an option that may stand alone; a word after it is its value where it ends in the suffix."""
        self.add_argument(name, type=str | None, default=None, nargs="?", const=otherwise, metavar="FILE", help=help)
        self.suffixes[name] = suffix

    def add_dataclass(self, module: str, name: str, *, config: bool = False) -> None:
        """Adds an option for every field of a tree of dataclasses; with `config`, also one for a YAML file of them."""
        cls = getattr(import_module(module), name)
        if config:
            self.config_class = cls
            self.add_argument("--config", action="config", metavar="FILE", help="YAML file of these values; flags win.")
        self.add_class_arguments(cls, None)
        self.group_names |= {f"--{path.rpartition('.')[0]}" for path in field_paths(cls)}
        for action in self._actions:
            if self.group_names.intersection(action.option_strings) or action.dest == "print_config":
                action.help = argparse.SUPPRESS

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        """Returns the help without what says nothing: empty defaults, and choices for a second time."""
        text = re.sub(r"type:\s+Literal\[[^]]*\],\s+", "", str(super().format_help(formatter)))
        return re.sub(r",?\s+default:\s+\)", ")", re.sub(r"\s+\(default:\s+False\)", "", text))

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        """Returns the values as nested dictionaries.

        Raises:
            ValueError: If an argument is unknown, of another type, or missing.
        """
        words = list(self._words(argv))
        if not self._get_positional_actions():
            stray = next((values[0] for name, values in words if not name), None)
            check(stray is None, "words", f"be options of {self.prog}", stray, f"see {self.prog} --help")
        options = [part for name, values in words if name for part in _option(name, values)]
        positionals = [word for name, values in words if not name for word in values]
        try:
            values = self.parse_args([*options, "--", *positionals] if positionals else options).as_dict()
        except (jsonargparse.ArgumentError, argparse.ArgumentError) as error:
            raise ValueError(f"{self._sentence(str(error))}; see {self.prog} --help") from error
        values.pop("config", None)
        return self._as_given(values, dict(words))

    def given(self, argv: Sequence[str]) -> frozenset[str]:
        """Returns the dotted names of the options that stand in the arguments."""
        return frozenset(name.removeprefix("--").removesuffix("+") for name, _ in self._words(argv) if name)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises instead of printing and leaving."""
        raise jsonargparse.ArgumentError(None, message) from ex

    def _words(self, argv: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Yields each option with its value, if it has one, and positional words without a name, wherever they stand.

        Raises:
            ValueError: If an option is unknown, or a file given by --config is no recipe.
        """
        known = {name: action for action in self._actions for name in action.option_strings}
        leaves = [name for name in known if name.startswith("--") and name not in self.group_names]
        words = deque(argv)
        while words:
            word = words.popleft()
            if word == "--":
                yield from (("", [rest]) for rest in words)
                return
            elif not word.startswith("-") or word == "-":
                yield "", [word]
            else:
                name, equals, value = word.partition("=")
                inner = any(name.startswith(f"{leaf}.") for leaf in leaves)  # a key of an option that is a mapping
                if name in self.group_names or not (name in known or inner):
                    shown = [option for option in leaves if not option.endswith("+") and option != "--print_config"]
                    raise ValueError(f"options must be those of {self.prog}, got {name}; {nearest(name, shown)}")
                takes_value = inner or (known[name].nargs != 0 and name != "--print_config")
                if name in self.suffixes and not equals:
                    takes_value = bool(words) and words[0].endswith(self.suffixes[name])
                if takes_value and not equals:
                    if not words:
                        raise ValueError(f"{name} must have a value, got none; see {self.prog} --help")
                    value = words.popleft()
                if equals and not takes_value and name != "--print_config":
                    raise ValueError(f"{name} must stand without a value, got {value!r}; leave it out to turn it off")
                if name == "--config" and not load_yaml(Path(value), cls=self.config_class or dict):
                    continue  # a file of comments only
                several = name in known and known[name].nargs == "+" and not equals
                more = [words.popleft() for _ in takewhile(_is_number, list(words))] if several else []
                yield name, [value, *more] if takes_value or equals else []

    def _as_given(self, values: dict[str, Any], given: dict[str, list[str]]) -> dict[str, Any]:
        """Puts back words such as `#1` that were read as YAML's nothing; only `null` means none."""
        for action in self._actions:
            if str not in get_args(getattr(action, "_typehint", None)):
                continue
            word = next((given[name][0] for name in action.option_strings if given.get(name)), "null")
            *path, leaf = action.dest.split(".")
            inner: Any = values
            for part in path:
                inner = inner.get(part, {})
            if word != "null" and leaf in inner and inner[leaf] is None:
                inner[leaf] = word
        return values

    def _sentence(self, message: str) -> str:
        """Puts what jsonargparse says into one line of our words."""
        line = " ".join(message.split())
        match = re.search(r'key "(?P<key>[^"]+)": .*(Got|Given) value:\s*(?P<value>.*)', line)
        if match is None:
            return line
        kinds = re.findall(r"Expected an? (?:<class '(\w+)'>|typing\.Literal\[(.+?)\])", line)
        wanted = " or ".join(plain or literal.replace(", ", " or ") for plain, literal in kinds)
        wanted = wanted.replace("NoneType", "null") or "of the type that --help says"
        return f"{match['key']} must be {wanted}, got {match['value']}"


def _option(name: str, values: Sequence[str]) -> list[str]:
    """Writes an option as one word, or as several where it has several values."""
    return [name, *values] if len(values) > 1 else ["=".join([name, *values])]


def _is_number(word: str) -> bool:
    return re.fullmatch(r"\d*\.?\d+", word) is not None
