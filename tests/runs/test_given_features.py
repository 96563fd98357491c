"""Features that came from elsewhere, inverted without a picture."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from invjax import UserError, cli, representations
from invjax.runs import config as configs
from invjax.runs import plan

from ..conftest import run

GOLDEN = Path(__file__).parent.parent / "golden"


def golden(picture, feature="hog_net"):
    """A feature of a 64×64 picture that another program computed."""
    with np.load(GOLDEN / f"{picture}_64x64.npz") as arrays:
        return arrays[feature]


ASTRONAUT, DISC = golden("astronaut"), golden("disc")


def in_hdf5(path, array):
    with h5py.File(path, "w") as file:
        file["features/hog"] = array


@pytest.fixture
def given(tmp_path):
    """A config that takes a second or two: two features in one file."""
    np.save(tmp_path / "two.npy", np.stack([ASTRONAUT, DISC]))
    config = configs.default()
    config.features = (str(tmp_path / "two.npy"),)
    config.size = 64
    config.steps = 12
    return config


def rows_of(workdir):
    with (workdir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("hog.npy", np.save),
        ("hog.npz", lambda path, array: np.savez(path, hog=array)),
        ("hog.h5", in_hdf5),
        ("hog.mat", lambda path, array: scipy.io.savemat(path, {"hog": array})),
    ],
)
def test_from_a_file_to_a_picture(tmp_path, capsys, name, save):
    save(tmp_path / name, ASTRONAUT)
    out = tmp_path / "out"
    words = ["invert", "--features", str(tmp_path / name), "--representation", "hog", "--size", "64", "--steps", "60"]
    assert cli.main([*words, "--out", str(out)]) == 0
    [row] = rows_of(out)
    assert (row["image"], row["psnr"], row["ssim"], row["normalized_error"]) == ("hog", "", "", "")
    assert float(row["relative_error"]) < 0.05
    assert Image.open(out / row["picture"]).size == (64, 64)
    assert [path.name for path in (out / "images" / "hog").glob("*.png")] == [Path(row["picture"]).name]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "no original" in page and "Missing or damaged" not in page and "1 feature " in page
    assert cli.main([*words, "--out", str(out)]) == 0
    assert "nothing to compute" in capsys.readouterr().out


def test_each_feature_of_a_file_is_inverted(given, tmp_path):
    run(given, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert [row["image"] for row in rows] == ["two-0", "two-1"]
    distance = np.linalg.norm(ASTRONAUT - DISC)
    for row, feature in zip(rows, (ASTRONAUT, DISC), strict=True):
        error = np.sqrt(float(row["relative_error"])) * np.linalg.norm(feature) / distance
        assert float(row["normalized_error"]) == pytest.approx(error, rel=1e-4)


def test_the_picture_found_is_the_one_found_from_the_picture_itself(given, tmp_path):
    """Only Φ₀ matters: a given feature and the feature of a picture lead to the same pixels."""
    pixels = np.clip(np.round(golden("astronaut", "image") + 128), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "astronaut.png")
    from_picture = given.copy_and_resolve_references()
    from_picture.images, from_picture.features = (str(tmp_path / "astronaut.png"),), ()
    [job] = plan.make_jobs(from_picture)
    np.save(tmp_path / "astronaut.npy", job.targets().features[0])
    given.features = (str(tmp_path / "astronaut.npy"),)
    run(from_picture, tmp_path / "picture")
    run(given, tmp_path / "feature")
    [first], [second] = rows_of(tmp_path / "picture"), rows_of(tmp_path / "feature")
    assert first["relative_error"] == second["relative_error"] and first["psnr"] and not second["psnr"]
    assert (tmp_path / "picture" / first["picture"]).read_bytes() == (
        tmp_path / "feature" / first["picture"]
    ).read_bytes()


def test_names_are_different(given, tmp_path):
    (tmp_path / "more").mkdir()
    for path in ("more/two.npy", "two-1.npy"):
        np.save(tmp_path / path, ASTRONAUT)
    given.features += (str(tmp_path / "two-1.npy"), str(tmp_path / "more" / "two.npy"))
    [job] = plan.make_jobs(given)
    assert list(job.pictures) == ["two-0", "two-1", "two-1-2", "two"]
    assert job.originals is None and job.image_shape == (64, 64, 1)


def test_layout_and_layers_by_name(given, tmp_path):
    path = tmp_path / "two.npz"
    np.savez(path, hog=np.moveaxis(ASTRONAUT, -1, 0)[None], dsift=np.ones(3))
    given.features, given.features_layout = (str(path),), "chw"
    with pytest.raises(UserError, match=r"two\.npz: several arrays \(hog, dsift\)"):
        plan.make_jobs(given)
    np.savez(path, hog=np.moveaxis(ASTRONAUT, -1, 0)[None])
    [job] = plan.make_jobs(given)
    np.testing.assert_array_equal(job.targets().features[0], ASTRONAUT)


def test_layers_of_a_network_take_the_arrays_of_their_names(given, tmp_path):
    shape = representations.get("caffenet", layer="relu1", weights="random").feature_shape((64, 64, 3))
    arrays = {name: np.random.default_rng(seed).random((2, *shape)) for seed, name in enumerate(("conv1", "relu1"))}
    np.savez(tmp_path / "two.npz", **{name: np.moveaxis(array, -1, 1) for name, array in arrays.items()})
    given.features, given.features_layout = (str(tmp_path / "two.npz"),), "chw"
    given.representations, given.weights, given.layers = ("caffenet",), "random", ("relu1", "conv1", "conv1+0.5*relu1")
    jobs = plan.make_jobs(given)
    for place in range(2):
        relu1, conv1, both = (job.targets().of(place) for job in jobs)
        np.testing.assert_array_equal(relu1, arrays["relu1"][place].astype(np.float32))
        np.testing.assert_array_equal(conv1, arrays["conv1"][place].astype(np.float32))
        np.testing.assert_array_equal(both["relu1"], relu1)
        np.testing.assert_array_equal(both["conv1"], conv1)


def test_a_run_goes_on_with_the_same_features_only(given, tmp_path):
    run(given, tmp_path / "out")
    moved = tmp_path / "elsewhere" / "two.npy"
    moved.parent.mkdir()
    np.save(moved, np.stack([ASTRONAUT, DISC]))
    given.features = (str(moved),)
    run(given, tmp_path / "out")
    np.save(moved, np.stack([ASTRONAUT, ASTRONAUT]))
    with pytest.raises(UserError, match=r"other pictures, features or code: two-0, two-1 differ"):
        run(given, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": ("a.png",)}, r"config\.features must be left out where there are config\.images"),
        ({"features_layout": "nchw"}, r"config\.features_layout must be one of hwc, chw, got 'nchw'"),
        ({"size": 0}, r"config\.size must be the pictures' size in pixels"),
        ({"size": 72}, r"two\.npy: 'two': expected \[9, 9, 27\], .* got \[2, 8, 8, 27\]: .*--size"),
        ({"size": 9}, "at least 16×16 pixels"),
        ({"representations": ("dsift",)}, r"expected \[3, 3, 128\]"),
        ({"features": ("none.npy",)}, r"none\.npy: no such file"),
        ({"features": (3,)}, r"config\.features must be names"),
    ],
)
def test_what_cannot_be_inverted_is_refused_before_anything_runs(given, tmp_path, change, message):
    given.update(change)
    with pytest.raises(UserError, match=message) as caught:
        run(given, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_feature_of_zeros_is_refused_by_its_file(given, tmp_path):
    np.save(tmp_path / "two.npy", np.zeros_like(ASTRONAUT))
    with pytest.raises(UserError, match=r"two\.npy: .*all zero"):
        plan.make_jobs(given)
