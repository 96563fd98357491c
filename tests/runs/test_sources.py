"""Pictures and features that are read when they are needed, and what becomes of those that have changed by then."""

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

from invjax import UserError, features, images, metrics
from invjax.errors import Incomplete
from invjax.runs import plan, sources
from invjax.runs import run as runner

from ..conftest import blobs, run


@pytest.fixture
def folder(tmp_path):
    """Three pictures of a size."""
    path = tmp_path / "three"
    path.mkdir()
    for seed, name in enumerate("abc"):
        Image.fromarray(blobs(40, seed)).save(path / f"{name}.png")
    return path


@pytest.fixture
def three(config, folder):
    config.images, config.restarts = (str(folder),), 1
    return config


def change(path):
    Image.fromarray(blobs(40, 9)).save(path)


def test_a_picture_is_not_kept(three, monkeypatch):
    read, load = [], images.load_image
    monkeypatch.setattr(images, "load_image", lambda path, *rest: read.append(path.stem) or load(path, *rest))
    three.representations, three.lambda_tv = ("hog", "hogb"), (0.5, 5.0)
    job, _ = plan.make_jobs(three)
    assert read == ["a", "b", "c"]  # once for all representations
    read.clear()
    targets = job.targets([2, 0, 2])
    assert read[:2] == ["c", "a"] and set(targets.features) == {0, 2}
    np.testing.assert_array_equal(targets.originals[2], load(three.images[0] + "/c.png", job.phi.input))
    np.testing.assert_allclose(targets.of(2), job.phi(targets.originals[2]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("accident", [change, lambda path: path.unlink()])
def test_a_picture_that_changes_on_the_way_fails_and_the_rest_goes_on(three, folder, tmp_path, monkeypatch, accident):
    def made(config):
        jobs = plan.make_jobs(config)
        accident(folder / "b.png")
        return jobs

    monkeypatch.setattr(runner, "make_jobs", made)
    with pytest.raises(Incomplete, match=r"1 of 3 reconstructions failed, b from hog first: .*b\.png: has changed"):
        run(three, tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["a", "c"]
    assert (tmp_path / "out" / "images" / "a" / "original.png").exists()
    [failure] = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert "\n" not in failure["reason"]


def test_features_of_a_file_are_read_on_demand(three, tmp_path, monkeypatch):
    arrays = np.random.default_rng(0).random((5, 5, 5, 27), np.float32)
    np.save(tmp_path / "four.npy", arrays[:4])
    np.save(tmp_path / "one.npy", arrays[4])
    three.images, three.features, three.size = (), (str(tmp_path / "four.npy"), str(tmp_path / "one.npy")), 40
    [job] = plan.make_jobs(three)
    read, load = [], features.read_features
    monkeypatch.setattr(features, "read_features", lambda path: read.append(path.stem) or load(path))
    targets = job.targets()
    np.testing.assert_array_equal([targets.of(place) for place in range(5)], arrays)
    assert len(read) <= 4  # a file at a time, for features and for their distances
    np.save(tmp_path / "one.npy", arrays[0])
    assert list(job.targets().faults) == [4] and "one.npy: has changed" in job.targets().faults[4]


def test_the_mean_distance_of_many_pictures_is_that_of_some(three, monkeypatch):
    [job] = plan.make_jobs(three)
    everything = np.stack([job.targets().of(place) for place in range(3)])
    assert job.pairwise_distance == metrics.mean_pairwise_distance(everything)
    monkeypatch.setattr(plan, "MEASURED", 2)
    [job] = plan.make_jobs(three)
    assert job.pairwise_distance == pytest.approx(np.linalg.norm(everything[0] - everything[1]), rel=1e-6)


def test_a_row_is_small(three):
    """There may be a million of them."""
    three.restarts = 100
    [job] = plan.make_jobs(three)
    assert sys.getsizeof(job.rows[0]) <= 100 and not hasattr(job.rows[0], "__dict__")
    assert len({id(row.weights) for row in job.rows}) == 1


def test_pictures_of_many_sizes_are_sorted_into_jobs(three, folder):
    for side in (48, 40, 48):
        Image.fromarray(blobs(side, side)).save(folder / f"{side}.png")
    found = sources.load_pictures(sources.find_pictures((str(folder),)), plan.make_jobs(three)[0].phi, 0)
    assert [job.image_shape for job in plan.make_jobs(three)] == [(40, 40, 1), (48, 48, 1)]
    assert [len(job.pictures) for job in plan.make_jobs(three)] == [4, 1] and len(found) == 5
    (folder / "48.png").unlink()
    with pytest.raises(UserError, match="changed"):
        found[1]
