"""Layers of networks in configs, whole runs and on the command line."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from invjax import UserError, cli, networks
from invjax.runs import config as configs
from invjax.runs import plan
from invjax.types import Origin

from ..conftest import blobs, run


def rows_of(workdir):
    with (workdir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def changed(config, **fields):
    for name, value in fields.items():
        config[name] = value
    return config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"representations": ("hog",), "layers": ("relu5",)}, "config.layers: hog has no layers, got 'relu5'"),
        ({"representations": ("caffenet", "hog"), "layers": ("relu5",)}, "hog has no layers"),
        ({"layers": ("relu5,rellu2",)}, "caffenet has no layer 'rellu2'. Did you mean relu2? Valid: conv1, relu1"),
        ({"representations": ("caffenet", "vgg16"), "layers": ("relu5",)}, "vgg16 has no layer 'relu5'. Did you mean"),
        ({"layers": ("relu5+0*relu2",)}, "the weight of layer relu2 must be a positive number, got 0"),
        ({"layers": ("relu5+x*relu2",)}, "'x*relu2' is not a layer with a weight"),
        ({"layers": ("conv1,conv1",)}, "config.layers must be different names"),
        ({"layers": ("conv1,1*conv1",)}, "config.layers must be different names"),
        ({"layers": (1,)}, "config.layers must be names, as text"),
        ({"weights_seed": -1}, "config.weights_seed must be a whole number from 0"),
        ({"representations": ("hog",), "weights": "random"}, "config.weights has no effect: hog has no weights"),
        ({"precision": "half"}, "config.precision must be one of float32, tf32, bfloat16, got 'half'"),
        (
            {"representations": ("hog",), "precision": "bfloat16"},
            "config.precision has no effect: hog has no precision",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(fields, message):
    with pytest.raises(UserError) as caught:
        configs.check(changed(configs.default(), **({"representations": ("caffenet",)} | fields)))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_options_of_others_are_refused(config):
    config.options.cell = 4
    with pytest.raises(
        UserError, match=r"config\.options: squeezenet has no option 'cell'\. Valid: layer, weights, seed, precision"
    ):
        plan.make_jobs(changed(config, representations=("squeezenet",), weights="random"))


def test_a_picture_of_another_size_is_refused_by_name(config, monkeypatch, tmp_path):
    monkeypatch.setenv("INVJAX_CACHE", str(tmp_path / "cache"))
    config = changed(config, representations=("squeezenet",), layers=("fire2/concat",), size=10)
    with pytest.raises(UserError, match="no weights called squeezenet here"):
        plan.make_jobs(config)
    with pytest.raises(UserError, match=r"blob\.png: squeezenet needs a picture of at least 11×11 pixels, got 10×10"):
        plan.make_jobs(changed(config, weights="random"))


# --- the command line --------------------------------------------------------------------------------------------


def test_layers_are_listed(capsys):
    assert cli.main(["representations", "caffenet"]) == 0
    text = capsys.readouterr().out
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert "60,965,224 weights; pictures of 227 pixels" in text and "CNN-A" in text.splitlines()[0]
    assert [name for name in lines if name in networks.get("caffenet").names()] == list(
        networks.get("caffenet").names()
    )
    assert lines["conv1"] == ["55×55×96", "11", "4", "0.5"]
    assert lines["pool5"] == ["6×6×256", "195", "32", "50"]
    assert lines["fc6"] == ["4096", "all", "50"]
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("layer", ["fire2/conct", "conv1,pool3", "2*fire2/concat+pool9"])
def test_an_unknown_layer_is_one_line(capsys, picture, tmp_path, layer):
    arguments = ["invert", str(picture), "--representation", "squeezenet", "--layer", layer, "--weights", "random"]
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert re.fullmatch(
        r"invjax: error: config.layers: squeezenet has no layer '\S+'\..* Valid: conv1, .*\n", printed.err
    )
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(arguments, run directory) of a layer and of two at once, of a picture in colour."""
    folder = tmp_path_factory.mktemp("networks")
    Image.fromarray(np.stack([blobs(80, seed) for seed in range(3)], -1)).save(folder / "p.png")
    layers = "fire2/concat,pool1+0.5*fire2/concat"
    arguments = [str(folder / "p.png"), "--representation", "squeezenet", "--layer", layers, "--weights", "random"]
    arguments = ["invert", *arguments, "--size", "64", "--steps", "3", "--out", str(folder / "out")]
    assert cli.main(arguments) == 0
    return arguments, folder / "out"


def test_several_layers_in_one_run(finished):
    _, out = finished
    rows = rows_of(out)
    assert [row["layer"] for row in rows] == ["fire2/concat", "pool1+0.5*fire2/concat"]
    assert {row["representation"] for row in rows} == {"squeezenet"}
    for row in rows:
        assert float(row["relative_error"]) > 0 and row["steps"] == "3"
        assert float(row["lambda_tv"]) == 0.5  # suits layers that see so little
        assert Image.open(out / row["picture"]).size == (64, 64)
        assert row["picture"].startswith("images/p/squeezenet_") and row["picture"].count("/") == 2
    assert len({row["picture"] for row in rows}) == 2
    assert "fire2/concat" in (out / "report.html").read_text(encoding="utf-8")


def test_the_same_command_again_computes_nothing(finished, capsys):
    arguments, out = finished
    before = (out / "results.csv").read_bytes()
    assert cli.main(arguments) == 0
    assert "nothing to compute" in capsys.readouterr().out and (out / "results.csv").read_bytes() == before


def test_other_random_weights_are_refused_in_the_same_folder(finished):
    arguments, out = finished
    layers = tuple(arguments[arguments.index("--layer") + 1].split(","))
    fields = {"images": (arguments[1],), "representations": ("squeezenet",), "layers": layers, "size": 64}
    config = changed(configs.default(), steps=3, weights="random", weights_seed=1, **fields)
    with pytest.raises(UserError, match=r"made by another config: weights_seed \(there 0, here 1\);"):
        run(config, out)


def test_a_precision_belongs_to_the_run(finished, capsys):
    """Runs of before there was a choice are those of the default."""
    arguments, out = finished
    file = out / "config.json"
    recorded = json.loads(file.read_text())
    assert recorded.pop("precision") == "tf32"
    file.write_text(json.dumps(recorded))
    assert cli.main(arguments) == 0
    assert "nothing to compute" in capsys.readouterr().out
    assert cli.main([*arguments, "--precision", "bfloat16"]) == 2
    assert "made by another config: precision (there tf32, here bfloat16)" in capsys.readouterr().err


def test_a_precision_reaches_the_network(finished):
    arguments, _ = finished
    config = changed(configs.default(), images=(arguments[1],), representations=("squeezenet", "hog"))
    config = changed(config, weights="random", precision="bfloat16", size=64)
    jobs = plan.make_jobs(config)
    assert jobs[0].phi.apply.network.precision == "bfloat16"
    config.sweep = {"precision": ("float32", "bfloat16")}
    networks = [job.phi.apply.network for job in plan.make_jobs(changed(config, representations=("squeezenet",)))]
    assert [network.precision for network in networks] == ["float32", "bfloat16"]


def test_other_weights_of_the_same_name_are_other_fingerprints(finished):
    arguments, _ = finished
    config = changed(configs.default(), images=(arguments[1],), representations=("squeezenet",), layers=("pool1",))
    config = changed(config, size=64, weights="random")
    [job] = plan.make_jobs(config)

    def fingerprints(source):
        return plan.fingerprints(
            [dataclasses.replace(job, phi=dataclasses.replace(job.phi, origin=Origin(source=source)))]
        )

    first, second = fingerprints("squeezenet sha256:0123"), fingerprints("squeezenet sha256:4567")
    weights = "weights of squeezenet: squeezenet"
    assert first.keys() == second.keys() == {"p", weights}
    assert first["p"] == second["p"] and first[weights] != second[weights]
