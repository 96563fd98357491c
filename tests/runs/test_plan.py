"""The plan: pictures found and named, rows in order, noise that depends on nothing else."""

import jax
import numpy as np
import pytest
from PIL import Image

from invjax import UserError, representations
from invjax.runs import config as configs
from invjax.runs import plan, sources

from ..conftest import blobs


def save(path, side=40, seed=0):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(blobs(side, seed)).save(path)
    return path


def test_pictures_are_found_in_folders_patterns_and_files(tmp_path):
    paths = [save(tmp_path / name) for name in ("a/x.png", "a/y.jpg", "b/z.png", "b/x.png")]
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    found = sources.find_pictures((str(tmp_path / "a"), str(tmp_path / "b" / "*.png"), str(paths[0])))
    assert [picture.path for picture in found] == [paths[0], paths[1], paths[3], paths[2]]
    assert [picture.name for picture in found] == ["x", "y", "x-2", "z"]


def test_a_picture_named_twice_is_one_and_hidden_files_are_none(tmp_path, monkeypatch):
    path = save(tmp_path / "a" / "x.png")
    save(tmp_path / "a" / "._x.png")
    (tmp_path / "a" / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)
    found = sources.find_pictures((str(tmp_path / "a"), "a/x.png", "a/*.png"))
    assert [picture.path for picture in found] == [path]


def test_fingerprints_tell_changed_pixels(config, picture):
    before = plan.fingerprints(plan.make_jobs(config))
    assert before == plan.fingerprints(plan.make_jobs(config)) and list(before) == ["blob"]
    save(picture, seed=4)
    assert before != plan.fingerprints(plan.make_jobs(config))


@pytest.mark.parametrize("pattern", ["empty", "*.png", "no.png"])
def test_nothing_found_is_said(tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no pictures|no file|no such file"):
        sources.load_pictures(sources.find_pictures((pattern,)), representations.get("hog"), 0)
    with pytest.raises(UserError, match=r"config\.images"):
        sources.find_pictures(())


def test_every_bad_picture_is_named_before_anything_runs(tmp_path):
    good, broken, tiny = save(tmp_path / "good.png"), tmp_path / "broken.jpg", save(tmp_path / "tiny.png", side=9)
    broken.write_text("no picture")
    pictures = sources.find_pictures((str(good), str(broken), str(tiny)))
    with pytest.raises(UserError) as caught:
        sources.load_pictures(pictures, representations.get("hog"), 0)
    text = str(caught.value)
    assert "2 of 3 pictures" in text and str(broken) in text and str(tiny) in text and str(good) not in text
    assert "\n" not in text


def test_rows_are_images_by_weights_by_restarts(config):
    config.lambda_tv = (0.5, 5.0)
    [job] = plan.make_jobs(config)
    assert [(row.lambda_tv, row.restart) for row in job.rows] == [(0.5, 0), (0.5, 1), (5.0, 0), (5.0, 1)]
    problems = job.problems(job.rows, job.targets())
    np.testing.assert_allclose(problems.weights["tv"], [0.5, 0.5, 5, 5])
    np.testing.assert_allclose(problems.target[3], job.phi(job.originals[0]), rtol=0, atol=1e-5)


def test_pictures_of_different_sizes_make_jobs_of_their_own(config, tmp_path):
    paths = [save(tmp_path / f"{side}.png", side, seed=side) for side in (40, 48)]
    paths.append(save(tmp_path / "other.png", 40, seed=5))
    config.images = tuple(str(path) for path in paths)
    jobs = plan.make_jobs(config)
    assert [job.image_shape for job in jobs] == [(40, 40, 1), (48, 48, 1)]
    assert [row.image for row in jobs[0].rows] == ["40", "40", "other", "other"]
    targets = jobs[0].targets()
    first, second = (np.asarray(feature).ravel() for feature in targets.features.values())
    np.testing.assert_allclose(targets.pairwise_distance, np.linalg.norm(first - second), rtol=1e-6)
    assert np.isnan(jobs[1].targets().pairwise_distance)


def keys_of(job):
    return job.problems(job.rows, job.targets()).key


def test_noise_depends_on_seed_picture_and_restart_only(config, tmp_path):
    alone = plan.make_jobs(config)[0]
    config.images = (str(save(tmp_path / "aaa.png", seed=3)), *config.images)
    config.restarts = 3
    together = plan.make_jobs(config)[0]
    keys = {
        (row.image, row.restart): key
        for row, key in zip(together.rows, jax.random.key_data(keys_of(together)), strict=True)
    }
    for row, key in zip(alone.rows, jax.random.key_data(keys_of(alone)), strict=True):
        np.testing.assert_array_equal(key, keys[row.image, row.restart])
    assert len({tuple(np.asarray(key)) for key in keys.values()}) == len(keys)


def test_a_flat_picture_is_found_out(config, tmp_path):
    path = tmp_path / "flat.png"
    Image.fromarray(np.full((40, 40), 128, np.uint8)).save(path)
    config.images = (*config.images, str(path))
    [job] = plan.make_jobs(config)
    [(place, reason)] = job.targets().faults.items()
    assert job.pictures[place] == "flat" and "all zero" in reason


def test_options_reach_the_representation(config):
    config.options.cell = 5
    config.options.orientations = 4
    [job] = plan.make_jobs(config)
    assert job.targets().of(0).shape == (8, 8, 12)
    config.representations = ("dsift",)
    config.options.bilinear = True
    with pytest.raises(UserError, match="dsift has no option 'bilinear'"):
        configs.check(config)
