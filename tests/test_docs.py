"""The code that README.md, CONTRIBUTING.md and docs/ print does what they say."""

import ast
import itertools
import re
import shlex
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from invjax import analysis, cli, read_results, recipes, regularizers, representations
from invjax.runs import config as configs

from .conftest import blobs

ROOT = Path(__file__).parent.parent


def blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)


def shell(name):
    """The arguments of the commands that a page prints."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", "")
    return [shlex.split(line, comments=True) for line in re.findall(r"^    invjax (.*)", text, flags=re.MULTILINE)]


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


@pytest.fixture
def yours(tmp_path, monkeypatch):
    """A folder with what docs/your_own.md calls mine.py, pictures, and short descents; the page's other blocks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(representations, "_FACTORIES", dict(representations._FACTORIES))
    monkeypatch.setattr(recipes, "FAST", recipes.Recipe("fast", 3, "sobolev_adam", 8.0, "cosine"))
    Path("photos").mkdir()
    for name, seed in (("cat.jpg", 0), ("photos/dog.jpg", 1)):
        Image.fromarray(blobs(80, seed)).convert("RGB").save(name)
    every = blocks("docs/your_own.md")
    *others, config = [block for block in every if not block.startswith("# mine.py")]
    mine = "".join(block for block in every if block.startswith("# mine.py"))
    Path("mine.py").write_text(mine.replace("192", "16").replace("range(4)", "range(2)"), encoding="utf-8")
    Path("my_config.py").write_text(config.replace(', "block_2"', ","), encoding="utf-8")
    return others


def test_what_is_yours_in_python(yours):
    names, shapes, found = {}, [], []
    for block in yours:
        smaller = (
            block.replace("depth=3", "depth=1, features=4")
            .replace('invjax.representations.get("hog")\nx0', "mine.tints()\nx0")
            .replace("size=227", "size=64")
        )
        for statement in ast.parse(smaller).body:  # each of several examples
            exec(compile(ast.Module([statement], []), "your_own.md", "exec"), names)
            found += [names["out"]] if "out" in names and not any(names["out"] is out for out in found) else []
        shapes.append(names["phi"].feature_shape((64, 64, names["phi"].input.channels)))
    assert shapes[:4] == [(64, 64, 4), (32, 32, 16), {"hog": (8, 8, 27), "dsift": (3, 3, 128)}, (64, 64, 4)]
    assert len(found) == 14 and all(np.isfinite(out.relative_error).all() for out in found)
    for one, other in itertools.combinations(found[1:], 2):  # each changes something
        assert np.abs(one.images - other.images).max() > 0.01
    assert Image.open("cat_from_tints.png").size == (64, 64)


def test_what_is_yours_on_the_command_line(yours, capsys, monkeypatch):
    quicker = {"hog": "mine.py:tints", "block_0,block_2": "patches,block_0"}
    for command in shell("docs/your_own.md"):
        with monkeypatch.context() as patch:
            if "hog" in command:  # figures and page take longer than all else
                patch.setattr(analysis, "publish", lambda workdir, *_: workdir)
            assert cli.main([quicker.get(word, word) for word in command]) == 0, command
    assert cli.main(["study", "out/tints"]) == 0  # which neither HOG nor DSIFT can look at
    assert "Random sums of the colours" in capsys.readouterr().out
    frame = read_results("out")
    assert (frame.status == "ok").all() and set(frame.run) == {path.name for path in Path("out").iterdir()}
    every = frame[frame.run == "all"]
    assert set(every.variant) == {"augment=default", "augment=mine.py:flicker"} and set(every.image) == {"cat", "dog"}
    assert set(frame[frame.run == "vit"].layer) == {"patches", "block_0"} and Path("out/vit/distances.csv").is_file()


def test_features_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "FAST", recipes.Recipe("fast", 3, "adam", 8.0, "cosine"))
    np.save("hog.npy", np.random.default_rng(0).random((3, 8, 8, 27)))
    [snippet] = blocks("docs/given_features.md")
    names = {}
    exec(snippet, names)
    assert len(names["others"]) == 2 and names["out"].images.shape == (1, 64, 64, 1)


def is_ours(name):
    """Whether no other test has registered it."""
    return not getattr(representations.factory(name), "__module__", "invjax").startswith("tests")


def test_every_representation_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in text for name in representations.names() if is_ours(name))


def test_the_sweep_of_the_docs(tmp_path, picture):
    [sweep, _] = blocks("docs/experiments.md")
    (tmp_path / "mine.py").write_text(sweep)
    config = configs.load(str(tmp_path / "mine.py"), [f"--config.images={picture}"])
    assert len(configs.check(config)) == 6
