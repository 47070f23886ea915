"""Examples run as they stand, and the commands and code in the pages are real."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

import kinema
from kinema.cli import COMMANDS, make_parser

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_example(name: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(REPOSITORY / "examples" / name), run_name="__main__")


def test_a_network_that_joins_frames_sees_their_order_and_tsn_does_not(monkeypatch, capsys):
    run_example("01_temporalize.py", "--quick", monkeypatch=monkeypatch)
    changes = dict(re.findall(r"^(\w+) .* by up to ([\d.]+)$", capsys.readouterr().out, re.MULTILINE))
    assert changes.keys() == kinema.TEMPORAL_LAYERS.keys()
    for name, kind in kinema.TEMPORAL_LAYERS.items():
        # I3D's taps start equal, before and after, GSM's gates at zero, and what MotionSqueeze adds is faint at first.
        starts_blind = kind is None or kind.starts_as_2d or name in ("i3d", "gsm", "motionsqueeze")
        assert (float(changes[name]) < 1e-4) if starts_blind else (float(changes[name]) > 1e-3), name


@pytest.mark.slow
def test_an_own_folder_is_trained_on_and_predicted(tmp_path, monkeypatch, capsys):
    run_example("02_train_own_folder.py", "--quick", "--out", str(tmp_path), monkeypatch=monkeypatch)
    assert (tmp_path / "run" / "last.safetensors").is_file()
    assert len(re.findall(r"^ *[\d.]+%  \w+", capsys.readouterr().out, re.MULTILINE)) == 3


def test_a_file_is_opened_and_predicted_and_one_that_is_not_there_is_a_sentence(tmp_path, monkeypatch, capsys):
    run_example("03_predict_a_file.py", "--quick", monkeypatch=monkeypatch)
    assert len(re.findall(r"^ *[\d.]+%  \w+", capsys.readouterr().out, re.MULTILINE)) == 3
    run_example("03_predict_a_file.py", "--quick", str(tmp_path / "absent.mp4"), monkeypatch=monkeypatch)
    assert re.search(r"not read: .*absent\.mp4", capsys.readouterr().out)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_numbered(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80
    assert re.match(r"\d\d_", path.name)


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.name, text)
        for page in PAGES
        for found, text in FENCE.findall(page.read_text(encoding="utf-8"))
        if found == language
    ]


def commands() -> list[tuple[str, str]]:
    """Lines of the pages that call kinema, long ones joined again."""
    joined = [(page, text.replace("\\\n", " ")) for page, text in blocks("")]
    lines = [(page, line.partition(" #")[0].strip()) for page, text in joined for line in text.splitlines()]
    return sorted({(page, line) for page, line in lines if line.startswith("kinema ")})


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_of_the_pages_is_one_that_kinema_takes(page, line, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    words = shlex.split(line)[1:]
    name = next((" ".join(words[:count]) for count in (1, 2) if " ".join(words[:count]) in COMMANDS), None)
    assert name is not None, f"{page}: {line}"
    if "--help" not in words:
        make_parser(name).parse(words[len(name.split()) :])


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_code_of_the_pages_uses_names_that_there_are(page, code):
    tree = ast.parse(code)
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "kinema"
    }
    assert used <= set(kinema.__all__)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kinema"):
            exec(compile(ast.Module([node], []), page, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
