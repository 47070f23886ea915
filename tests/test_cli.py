"""The command line: its help, its exit statuses, and what it imports."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from kinema.cli import COMMANDS, main, make_parser
from kinema.data.motion.dataset import MotionConfig
from kinema.demo.config import DemoConfig
from kinema.engine.recipe import EvaluationRecipe, Recipe
from kinema.engine.recipe.files import field_paths
from kinema.models.classifier import create_model
from kinema.models.weights import save_model
from kinema.spec import ClipSpec

CLASS_NAMES = ("falling", "rising", "standing")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    spec = ClipSpec(num_frames=4, resize=32, crop=32, class_names=CLASS_NAMES)
    model = create_model("test_resnet", temporal="tsm", num_frames=4, num_classes=3, spec=spec)
    nn.init.zeros_(model.head.weight)
    model.head.bias.data = model.head.bias.new_tensor([1.0, 0.0, -1.0])
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_model(path, model)
    return path


def errors_of(capsys):
    return capsys.readouterr().err.strip().splitlines()


def test_help_lists_every_command_in_one_line_each(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", printed, flags=re.MULTILINE)


def test_without_a_command_the_help_goes_to_stderr(capsys):
    assert main([]) == 2
    captured = capsys.readouterr()
    assert "usage: kinema COMMAND" in captured.err
    assert captured.out == ""


def test_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"kinema \d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("train", Recipe),
        ("evaluate", EvaluationRecipe),
        ("predict", None),
        ("demo", DemoConfig),
        ("profile", None),
        ("tables", None),
        ("sites", None),
        ("import", None),
        ("data motion", MotionConfig),
    ],
)
def test_the_help_of_a_command_has_a_line_for_every_option(name, tree, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*name.split(), "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: kinema {name}" in printed
    groups = {path.rpartition(".")[0] for path in field_paths(tree)} if tree else set()
    for path in field_paths(tree) if tree else []:
        if path not in groups:
            described = re.search(rf"^  --{re.escape(path)}\b[^\n]*\n? {{2,}}\S", printed, flags=re.MULTILINE)
            assert described, f"--{path} has no help"
    assert "Path to a configuration file" not in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name):
    actions = [action for action in make_parser(name)._actions if action.option_strings or action.dest]
    assert len(actions) > 1
    assert not [action.dest for action in actions if not action.help]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["nonsense"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\n"
        "from kinema.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'timm', 'lightning', 'matplotlib', 'torchvision', 'av', 'torchmetrics'}\n"
        "print('HEAVY', sorted(heavy & sys.modules.keys()))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in run.stdout


def test_the_package_runs_as_a_module():
    run = subprocess.run([sys.executable, "-m", "kinema", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("kinema ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trian"], "did you mean train?"),
        (["data", "moton"], "did you mean data motion?"),
        (["train", "--modl.backbone", "x"], "got --modl.backbone; did you mean --model.backbone?"),
        (["train", "--trainer.batchsize=3"], "got --trainer.batchsize; did you mean --trainer.batch_size?"),
        (["train", "--data.root", "x", "--seed", "1.5"], "seed must be int, got 1.5"),
        (["train", "--optimizer.name", "adam"], "optimizer.name must be 'adamw' or 'sgd', got adam"),
        (["train", "--model.pretrained", "maybe"], "model.pretrained must be true, false, auto or a file, got 'maybe'"),
        (["train", "--trainer.batch_size", "0"], "trainer.batch_size must be at least 1, or auto, got 0"),
        (["train"], "data.root must name the folder of the videos"),
        (["train", "--resume", "--overwrite"], "overwrite must not be given with resume"),
        (["train", "--resume", "--out", "no-such-run"], "out must hold a run to resume, got no-such-run"),
        (["predict"], "required: weights, files"),
        (["predict", "w", "f", "--topp", "3"], "did you mean --top?"),
        (["train", "--overwrite=false"], "--overwrite must stand without a value, got 'false'"),
        (["profile", "--options.num_frames", "16"], "options must hold options of the temporal layer only"),
        (["profile", "--size", "0", "--backbone", "test_resnet"], "size must be a whole number of at least 1, got 0"),
        (
            ["profile", "--size", "32", "--backbone", "inception_v3"],
            "size must be one that the network can take, got 32",
        ),
        (["profile", "--options.fraction", "half"], "fraction must be of type float, got 'half'"),
        (["predict", "w", "f", "--top"], "--top must have a value, got none"),
        (["train", "videos"], "words must be options of kinema train, got 'videos'"),
        (["train", "--data", "x"], "got --data; did you mean --data.root?"),
        (["train", "--trainer.epochs", ""], "trainer.epochs must be int or null, got"),
        (["profile", "--options.dilation", "[1]"], "dilation must be of type int or fixed or alternating, got [1]"),
        (["profile", "--options.fusion", "3"], "fusion must be of type attention or sum, got 3"),
        (["train", "--trainer.epochs", "1e1"], "trainer.epochs must be int or null, got 1e1"),
        (["evaluate", "w"], "data.root must name the folder of the videos"),
        (["data", "motion", "--out", "x", "--num_train", "9"], "num_train must be a positive multiple of 8, got 9"),
        (["demo", "--sed", "1"], "did you mean --seed?"),
        (["profile", "--temporl", "sth"], "did you mean --temporal?"),
        (["profile", "--backbone", "test_resnet", "--options.fracton", "1"], "options must be those of sth, got"),
        (["profile", "--backbone", "test_vit"], "from its k x k convs: patch_embed.proj (3 -> 64, 16 x 16, stride 16)"),
        (["sites", "resnet51"], "or a network of timm, got 'resnet51'; the nearest are"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(arguments, sentence, capsys):
    assert main(arguments) == 2
    lines = errors_of(capsys)
    assert len(lines) == 1
    assert lines[0].startswith("kinema: ")
    assert sentence in lines[0]


def test_an_unknown_key_in_a_recipe_is_refused_with_the_nearest_one(tmp_path, capsys):
    config = tmp_path / "mine.yaml"
    config.write_text("trainer:\n  batchsize: 3\n")
    assert main(["train", "--config", str(config)]) == 2
    (line,) = errors_of(capsys)
    assert "mine.yaml" in line
    assert "got trainer.batchsize; did you mean trainer.batch_size?" in line


def test_flags_override_the_recipe_wherever_they_stand(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("seed: 4\ntrainer: {batch_size: 3, epochs: 5}\nmodel: {options: {fraction: 0.5}}\n")
    parse = make_parser("train").parse
    for arguments in (["--config", str(config), "--trainer.batch_size", "6"], [f"--config={config}"]):
        values = parse(arguments)
        assert (values["seed"], values["trainer"]["epochs"]) == (4, 5)
        assert values["trainer"]["batch_size"] == (6 if len(arguments) > 1 else 3)
        assert values["model"]["options"] == {"fraction": 0.5}


def test_positional_words_may_stand_anywhere():
    parser = make_parser("predict")
    expected = parser.parse(["w", "a", "b", "--top", "1", "--json"])
    assert (expected["weights"], expected["files"], expected["top"]) == ("w", ["a", "b"], 1)
    for words in (["w", "a", "--top", "1", "--json", "b"], ["--top=1", "w", "--json", "--", "a", "b"]):
        assert parser.parse(words) == expected
    assert parser.parse(["w", "--", "-a", "--top"])["files"] == ["-a", "--top"]


@pytest.mark.parametrize(
    ("word", "value"), [("#1", "#1"), ("~", "~"), ("12", "12"), ("null", None), ("a: b", "a: b"), ("*", "*")]
)
def test_only_null_means_none(word, value):
    for given in (["--data.annotations", word], [f"--data.annotations={word}"]):
        assert make_parser("train").parse(given)["data"]["annotations"] == value


@pytest.mark.parametrize("word", ["null", "~", "Null"])
def test_yaml_has_several_words_for_nothing_where_there_is_no_text(word):
    values = make_parser("train").parse(["--trainer.epochs", word, "--data.root", "x"])
    assert (values["trainer"]["epochs"], values["data"]["root"]) == (None, "x")


def test_the_whole_recipe_is_printed_on_request(capsys):
    with pytest.raises(SystemExit):
        make_parser("train").parse(["--print_config", "--data.root", "videos"])
    assert "root: videos" in capsys.readouterr().out


def test_a_recipe_of_comments_only_changes_nothing(tmp_path):
    config = tmp_path / "recipe.yaml"
    config.write_text("# nothing yet\n")
    parser = make_parser("train")
    assert parser.parse(["--config", str(config), "--seed", "3"]) == parser.parse(["--seed", "3"])


def test_options_of_a_layer_may_be_given_one_by_one():
    values = make_parser("train").parse(["--model.temporal", "[tsm, sth]", "--model.options.fraction", "0.5"])
    assert values["model"]["temporal"] == ["tsm", "sth"]
    assert values["model"]["options"] == {"fraction": 0.5}


def test_missing_files_are_named_with_status_1(tmp_path, capsys):
    assert main(["train", "--config", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml: no such file" in errors_of(capsys)[0]
    assert main(["predict", str(tmp_path / "none.safetensors"), "x.mp4"]) == 1
    assert "none.safetensors" in errors_of(capsys)[0]


def test_a_fault_of_the_program_shows_its_traceback(monkeypatch):
    monkeypatch.setattr("kinema.cli.make_parser", lambda name: {}[name])
    with pytest.raises(KeyError):
        main(["train"])


def test_a_traceback_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("KINEMA_TRACEBACK", "1")
    with pytest.raises(ValueError, match="trian"):
        main(["trian"])


def test_predict_prints_the_most_probable_classes(weights, counting_video, capsys):
    assert main(["predict", str(weights), str(counting_video), "--top", "2"]) == 0
    assert capsys.readouterr().out == f"{counting_video}\n   66.5%  falling\n   24.5%  rising\n"


def test_predict_goes_on_past_a_broken_file_and_says_so(weights, counting_video, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    assert main(["predict", str(weights), str(broken), str(counting_video), "missing.mp4"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == str(counting_video)
    lines = captured.err.strip().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("kinema: ") for line in lines)
    assert "broken.mp4" in lines[0]
    assert "missing.mp4" in lines[1]


def test_predict_writes_one_line_of_json_for_each_file(weights, counting_video, tmp_path, capsys):
    assert main(["predict", str(weights), str(counting_video), "missing.mp4", "--json"]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["file"] == str(counting_video)
    assert [entry["class_name"] for entry in first["top"]] == list(CLASS_NAMES)
    assert second["file"] == "missing.mp4"
    assert "error" in second


@pytest.fixture
def dataset(tmp_path, counting_video):
    """Two classes of one video each, and no split."""
    for name in CLASS_NAMES[:2]:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for index in range(2):
            (folder / f"{index}.mp4").symlink_to(counting_video)
    return tmp_path / "data"


def test_evaluate_prints_its_scores_under_the_name_of_the_protocol(weights, dataset, tmp_path, capsys):
    file = tmp_path / "scores.json"
    arguments = ["evaluate", str(weights), "--data.root", str(dataset), "--data.num_workers", "0", "--json", str(file)]
    assert main([*arguments, "--views.num_clips", "2", "--views.num_crops", "3"]) == 0
    printed = capsys.readouterr().out
    assert "all 4 videos" in printed
    assert "2 clips" in printed
    assert "3 crops" in printed
    assert re.search(r"top-1 .*50\.0% \(95 % interval 15\.0% to 85\.0%\)", printed)
    assert re.search(r"mean class accuracy .*50\.0%", printed)
    scores = json.loads(file.read_text(encoding="utf-8"))
    assert (scores["top1"], scores["num_clips"]) == (0.5, 4)


def test_evaluate_counts_a_broken_file_as_wrong_and_names_it(weights, dataset, capsys):
    broken = dataset / "falling" / "broken.mp4"
    broken.write_bytes(b"no video")
    assert main(["evaluate", str(weights), "--data.root", str(dataset), "--data.num_workers", "0"]) == 1
    captured = capsys.readouterr()
    assert re.search(r"top-1 .*40\.0%", captured.out)
    (line,) = captured.err.strip().splitlines()
    assert "falling/broken.mp4 counts as wrong" in line


def test_evaluate_says_at_once_that_its_scores_cannot_be_written(weights, dataset, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    arguments = [
        "evaluate",
        str(weights),
        "--data.root",
        str(dataset),
        "--json",
        str(tmp_path / "file" / "scores.json"),
    ]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "top-1" not in captured.out
    assert "json must be a file in a folder that can be written to, got" in captured.err


def test_a_file_whose_name_is_no_text_is_printed_all_the_same(weights, tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    command = [sys.executable, "-m", "kinema", "predict", str(weights), name, "--json"]
    run = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert run.returncode == 1
    assert os.fsencode(json.loads(run.stdout)["file"]) == name
    assert b"no such file" in run.stderr


def test_evaluate_refuses_classes_that_the_weights_do_not_know(weights, dataset, capsys):
    (dataset / "falling").rename(dataset / "fallin")
    assert main(["evaluate", str(weights), "--data.root", str(dataset)]) == 2
    assert (
        "got fallin only in the data, and falling, standing only in the weights; did you mean falling?"
        in errors_of(capsys)[0]
    )


def test_evaluate_asks_for_a_split_that_is_there(weights, dataset, capsys):
    assert main(["evaluate", str(weights), "--data.root", str(dataset), "--split", "test"]) == 2
    assert "split must be a part of the data that has videos, got test" in errors_of(capsys)[0]


def test_data_motion_makes_the_dataset(tmp_path, capsys):
    out = tmp_path / "motion"
    assert main(["data", "motion", "--out", str(out), "--num_train", "8", "--num_val", "8", "--frame_size", "32"]) == 0
    assert len(list(Path(out).rglob("*.mp4"))) == 16
    assert "8 training and 8 validation clips" in capsys.readouterr().out


def test_profile_prints_the_papers_numbers(capsys):
    assert main(["profile", "--size", "224", "--options.fusion", "sum", "--options.fraction", "0.25"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["parameters", "21.98", "M", "21,978,350"] in lines
    assert ["MACs", "30.23", "G", "30,233,690,112"] in [line[:4] for line in lines]


def test_profile_writes_json_and_takes_several_layers(capsys):
    arguments = ["profile", "--backbone", "test_resnet", "--temporal", "[tsm, sth]", "--num_frames", "4", "--json"]
    assert main([*arguments, "--num_classes", "5", "--size", "32", "--causal", "--by_layer"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["flops"] == 2 * values["macs"] > 0
    assert values["activation_bytes"] > 0
    assert (values["num_frames"], values["size"]) == (4, 32)
    for key in ("parameters", "macs", "flops", "activation_bytes"):
        assert sum(layer[key] for layer in values["layers"]) == values[key]
    assert {"TemporalShift", "STHConv"} <= {layer["kind"] for layer in values["layers"]}


def test_profile_gives_each_layers_share_on_request(capsys):
    arguments = ["profile", "--backbone", "test_resnet", "--size", "32"]
    assert main(arguments) == 0
    assert "layer1.0.conv2" not in capsys.readouterr().out
    assert main([*arguments, "--by_layer"]) == 0
    assert re.search(r"backbone\.layer1\.0\.conv2 +STHConv +8,704 ", capsys.readouterr().out)


def test_sites_lists_blocks_with_their_convs(capsys):
    assert main(["sites", "test_resnet"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "test_resnet: 4 blocks (ResNet); sites: 4 entry, 7 spatial, 7 spatial_bn, 4 exit, 4 block"
    assert "spatial_bn layer3.0.conv2, layer3.0.bn2 48 -> 48, 3 x 3, stride 2" in lines
    assert main(["sites", "test_resnet", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["blocks"][2]["spatial_bn"] == [["layer3.0.conv2", "layer3.0.bn2"]]
    assert values["shapes"]["layer3.0.conv2"] == "48 -> 48, 3 x 3, stride 2"
    assert [one["path"] for one in values["candidates"]] == ["conv1.0", "conv1.3", "conv1.6"]  # the stem


def test_sites_of_an_unknown_network_are_its_candidates(capsys):
    assert main(["sites", "test_vit"]) == 0
    assert "patch_embed.proj  3 -> 64, 16 x 16, stride 16" in capsys.readouterr().out
    assert main(["sites", "test_vit", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["candidates"] == [{"path": "patch_embed.proj", "shape": "3 -> 64, 16 x 16, stride 16"}]


def test_tables_prints_the_papers_rows_beside_ours(capsys):
    assert main(["tables"]) == 0
    assert "Table 7. Spatio-temporal convolutions" in capsys.readouterr().out
    assert main(["tables", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    rows = {(row["table"], row["name"]): row for row in printed if "name" in row}
    assert {row["table"] for row in printed if "slip" in row} > {1}
    assert rows[1, "Conv1"]["paper"] == rows[1, "Conv1"]["ours"] == "64 x 8 x 112 x 112"
    assert rows[6, "p = 1/4"]["ours"]["macs"] == 30_233_690_112
    assert rows[2, "S3D-G"]["ours"] is None


@pytest.mark.parametrize(
    ("words", "json_file", "root"),
    [
        (["videos"], None, "videos"),
        (["videos", "--json"], "-", "videos"),
        (["--json", "videos"], "-", "videos"),
        (["--json", "found.json", "videos"], "found.json", "videos"),
        (["videos", "--json=found"], "found", "videos"),
        (["--json", "--", "-videos.json"], "-", "-videos.json"),
        (["--json", "--decode", "ends", "videos"], "-", "videos"),
    ],
)
def test_an_option_that_may_stand_alone_takes_no_word_that_is_not_its_value(words, json_file, root):
    values = make_parser("data check").parse(words)
    assert (values["json"], values["root"]) == (json_file, root)
