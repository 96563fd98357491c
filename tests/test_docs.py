"""The code that README.md, CONTRIBUTING.md and docs/ print does what they say."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from invjax import recipes, regularizers, representations
from invjax.experiment import config as configs

from .conftest import blobs

ROOT = Path(__file__).parent.parent


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def printed():
    return blocks("CONTRIBUTING.md")


def test_the_example_of_a_representation(printed):
    names = {}
    exec(printed[0], names)
    thumbnail = names["blur"](8)(jnp.full((16, 16, 1), 7.0))
    assert thumbnail.shape == (8, 8, 1)
    np.testing.assert_allclose(thumbnail, 7, rtol=1e-6)
    assert names["blur"](8).apply == names["blur"](8).apply


def test_the_example_of_a_regularizer(printed):
    names = dict(vars(regularizers))
    exec(printed[1], names)
    rows, columns = np.mgrid[:6, :7].astype(np.float32)
    assert names["laplacian"]()((2 * rows - columns)[..., None]) == pytest.approx(0, abs=1e-8)
    assert names["laplacian"]()((rows**2)[..., None]) == pytest.approx(4 * 4 * 5)


def test_the_example_of_a_config(printed, tmp_path):
    (tmp_path / "mine.py").write_text(printed[2])
    config = configs.load(str(tmp_path / "mine.py"))
    configs.check(config)
    assert config.options.cell == 6


def test_the_snippet_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "FAST", recipes.Recipe("fast", 3, "adam", 8.0, "cosine"))
    Image.fromarray(blobs(60)).save("cat.jpg")
    snippet, yours = blocks("README.md")
    names = {}
    exec(snippet.replace("size=227", "size=32"), names)
    assert names["out"].relative_error.shape == (4,)
    assert Image.open("cat_from_hog.png").size == (32, 32)
    exec(yours, names)
    assert set(names["out"].history) == {"step", "data", "tv", "dark", "total"}


def test_the_networks_of_the_documentation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(blobs(80)).save("cat.jpg")
    vit, nnx, function, parts = blocks("docs/custom_networks.md")
    names = {}
    exec(vit.replace("192", "32").replace("restarts=2", "steps=40"), names)
    assert names["out"].relative_error[0] < 0.3
    assert Image.open("cat_from_vit.png").size == (64, 64)
    for block, shape in ((nnx, (32, 32, 16)), (function, (64, 64, 3))):
        exec(block, names)
        assert names["phi"].feature_shape((64, 64, 3)) == shape
    exec(parts, names)
    assert names["phi"].feature_shape((64, 64, 1)) == {"hog": (8, 8, 27), "dsift": (3, 3, 128)}


def test_features_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "FAST", recipes.Recipe("fast", 3, "adam", 8.0, "cosine"))
    np.save("hog.npy", np.random.default_rng(0).random((3, 8, 8, 27)))
    [snippet] = blocks("docs/given_features.md")
    names = {}
    exec(snippet, names)
    assert len(names["others"]) == 2 and names["out"].images.shape == (1, 64, 64, 1)


def test_every_representation_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in representations.names())


def test_the_sweep_of_the_docs(tmp_path, picture):
    [sweep, _] = blocks("docs/experiments.md")
    (tmp_path / "mine.py").write_text(sweep)
    config = configs.load(str(tmp_path / "mine.py"), [f"--config.images={picture}"])
    assert len(configs.check(config)) == 6
