"""All figures and tables of a run."""

import json

import matplotlib
import pytest
from PIL import Image

from invjax import UserError
from invjax.analysis import figures as publish
from invjax.analysis.figures.canvas import DPI

from .common import make_run

FILES = {f"figures/{name}.{suffix}" for name in ("pictures", "errors") for suffix in ("png", "pdf")}
FILES |= {f"tables/errors.{suffix}" for suffix in ("csv", "md", "tex")}


def files(workdir):
    return {str(path.relative_to(workdir)) for folder in ("figures", "tables") for path in (workdir / folder).iterdir()}


def size(workdir):
    with Image.open(workdir / "figures" / "pictures.png") as file:
        return file.size


def test_a_run_gets_figures_and_tables(tmp_path):
    make_run(tmp_path, features=(("hog", ""), ("dsift", "")))
    assert publish.write(tmp_path) == []
    assert files(tmp_path) == FILES


def test_the_config_says_what_goes_down_and_across(tmp_path):
    make_run(tmp_path, images=("cat",), features=(("hog", ""), ("dsift", "")), restarts=3)
    publish.write(tmp_path)
    width, height = size(tmp_path)
    assert width > 2 * height  # the original and two representations
    figure = {"rows": "restart", "columns": "representation", "field": False}
    (tmp_path / "config.json").write_text(json.dumps({"figure": figure}))
    publish.write(tmp_path)
    assert size(tmp_path)[1] > 2 * height
    (tmp_path / "config.json").write_text(json.dumps({"figure": {"rows": "rows"}}))
    with pytest.raises(UserError, match="no rows or columns by 'rows'"):
        publish.write(tmp_path)


@pytest.mark.parametrize("config", [None, "{", '{"figure": 3}'])
def test_a_damaged_config_is_no_obstacle(tmp_path, config):
    make_run(tmp_path)
    (tmp_path / "config.json").unlink()
    if config:
        (tmp_path / "config.json").write_text(config)
    assert publish.write(tmp_path) == [] and files(tmp_path) == FILES


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"there is no results\.csv in it"):
        publish.write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_are_fit_for_print_and_the_same_every_time_whatever_the_users_style(tmp_path):
    found = []
    for name, style in (("first", {}), ("second", {"font.size": 20, "axes.facecolor": "red", "text.usetex": True})):
        make_run(tmp_path / name, features=(("caffenet", "conv1"), ("caffenet", "relu2")), lambdas=(0.5, 5.0))
        with matplotlib.rc_context(style):
            publish.write(tmp_path / name)
        found.append({file: (tmp_path / name / file).read_bytes() for file in FILES})
    assert found[0] == found[1]
    for name, content in found[0].items():
        if name.endswith(".pdf"):
            assert b"/FontFile2" in content and b"/Type3" not in content  # TrueType
            assert not any(word in content for word in (b"CreationDate", b"Producer", b"Creator"))
        if name.endswith(".png"):
            with Image.open(tmp_path / "first" / name) as file:
                assert not file.text and round(file.info["dpi"][0]) == DPI
