"""Which samples a split must not tear apart: what the data says, what a pattern finds in the names, or else a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinema.data.annotations.sample import Sample
from kinema.data.annotations.table import SampleTable

Group = tuple[str, str]
"""What kind of name it is, `group` or `sample`, and the name; of a sample that of its file, so its parts are one."""


@dataclass(frozen=True)
class Groups:
    """The groups of some samples."""

    numbers: NDArray[np.int64]
    """Number of the group of each sample [N]."""
    keys: Iterable[Group]
    """The groups, by their numbers; to be iterated over as often as one likes."""

    def __len__(self) -> int:
        return int(self.numbers.max(initial=-1)) + 1


def find_groups(samples: Sequence[Sample], pattern: str | None, *, must_match: bool = True) -> Groups:
    """Finds the group of each sample.

    Args:
        samples: Some samples.
        pattern: Regular expression that names the group, as `split_samples` has it.
        must_match: Whether the pattern must be found in one name at least.

    Returns:
        The groups.

    Raises:
        ValueError: If the samples have groups and a pattern is given too, or the pattern is no regular expression, or
            is found in no name.
    """
    if pattern is None:
        return _groups_of_table(samples) if isinstance(samples, SampleTable) else _numbered(map(own_group, samples))
    _check_no_groups(samples, pattern)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"group_pattern must be a regular expression, got {pattern!r} ({error}); correct it"
        ) from error
    groups = _numbered(_matched_groups(samples, compiled))
    if must_match and samples and all(kind == "sample" for kind, _ in groups.keys):
        raise ValueError(
            f"group_pattern must be found in the names of the samples, got {pattern!r}, which none has; "
            f"the first name is {samples[0].name!r}"
        )
    return groups


def own_group(sample: Sample) -> Group:
    """Returns the group of a sample, as the data has it."""
    return ("sample", sample.file_name) if sample.group is None else ("group", sample.group)


class _TableKeys:
    """The groups of samples that stand in a table, made one by one."""

    def __init__(self, table: SampleTable) -> None:
        self.table = table

    def __iter__(self) -> Iterator[Group]:
        names = self.table.group_names
        for group, file in zip(self.table.group_numbers.tolist(), self.table.files(), strict=True):
            yield ("sample", file) if group < 0 else ("group", names[group])


def _groups_of_table(table: SampleTable) -> Groups:
    given = table.group_numbers.astype(np.int64)
    raw = given if (given >= 0).all() else np.where(given < 0, len(table.group_names) + table.file_numbers(), given)
    _, first, numbers = np.unique(raw, return_index=True, return_inverse=True)
    return Groups(numbers.astype(np.int64), _TableKeys(table.select(first)))


def _numbered(keys: Iterable[Group]) -> Groups:
    """Numbers groups in the order in which they are first met."""
    known: dict[Group, int] = {}
    numbers = np.fromiter((known.setdefault(key, len(known)) for key in keys), dtype=np.int64)
    return Groups(numbers, known)


def _check_no_groups(samples: Sequence[Sample], pattern: str) -> None:
    """Refuses a pattern where the data names groups itself."""
    if isinstance(samples, SampleTable):
        place = int(np.argmax(samples.group_numbers >= 0)) if len(samples) else 0
        grouped = next((sample for sample in samples[place : place + 1] if sample.group is not None), None)
    else:
        grouped = next((sample for sample in samples if sample.group is not None), None)
    if grouped is not None:
        raise ValueError(
            f"group_pattern must be left out where the data names its groups, got {pattern!r} and group "
            f"{grouped.group!r} of {grouped.name}; drop one of them"
        )


def _matched_groups(samples: Sequence[Sample], pattern: re.Pattern[str]) -> Iterator[Group]:
    has_alternatives = _is_named_alternatives(pattern.pattern)
    files = samples.files() if isinstance(samples, SampleTable) else (sample.file_name for sample in samples)
    for file in files:
        match = pattern.search(file)
        if match is None:
            yield "sample", file
        elif has_alternatives:
            yield "group", next(name for name, text in match.groupdict().items() if text is not None)
        else:
            captured = [text for text in match.groups() if text is not None]
            yield "group", "/".join(captured) if captured else match.group()


def _is_named_alternatives(pattern: str) -> bool:
    """Tells whether a pattern is `(?P<one>...)|(?P<other>...)`: alternatives that all begin with a name."""
    starts, depth, inside_class = [0], 0, False
    for match in re.finditer(r"\\.|[][()|]", pattern, flags=re.DOTALL):
        character = match.group()
        if inside_class:
            inside_class = character != "]"
        elif character == "[":
            inside_class = True
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif character == "|" and depth == 0:
            starts.append(match.end())
    return len(starts) > 1 and all(pattern.startswith("(?P<", start) for start in starts)
