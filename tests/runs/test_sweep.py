"""Sweeps: what a grid and a list stand for, that cells share what they can, and that one failure stops nothing else."""

import csv
import json
import re

import jax
import numpy as np
import pytest
from PIL import Image

from invjax import UserError, cli, descent, inversion, representations
from invjax.analysis import restarts as study
from invjax.errors import Incomplete
from invjax.runs import config as configs
from invjax.runs import plan
from invjax.runs.sweep import expand

from ..conftest import blobs, run


def rows_of(workdir):
    with (workdir / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_is_every_combination_and_a_list_is_itself(config):
    config.sweep = {"beta": (1.0, 2.0), "options.cell": (6, 8)}
    found = [(name, variant.beta, variant.options.cell) for name, variant in expand(config)]
    assert found == [
        ("beta=1, options.cell=6", 1.0, 6),
        ("beta=1, options.cell=8", 1.0, 8),
        ("beta=2, options.cell=6", 2.0, 6),
        ("beta=2, options.cell=8", 2.0, 8),
    ]
    config.sweep = ({"beta": 1.5}, {"recipe": "paper", "lambda_tv": 5.0})
    [(first, one), (second, two)] = expand(config)
    assert (first, one.beta, one.recipe) == ("beta=1.5", 1.5, config.recipe)
    assert (second, two.beta, two.recipe, two.lambda_tv) == ("recipe=paper", 2.0, "paper", (5.0,))
    assert config.beta == 2.0 and config.lambda_tv == ()


def test_fields_with_columns_of_their_own_name_no_variant(config):
    config.representations, config.weights = ("squeezenet",), "random"
    config.sweep = {"layers": ("conv1", "pool1"), "lambda_tv": (0.5, (5.0, 50.0))}
    found = expand(config)
    assert [name for name, _ in found] == [""] * 4
    assert [(variant.layers, variant.lambda_tv) for _, variant in found][:2] == [
        (("conv1",), (0.5,)),
        (("conv1",), (5.0, 50.0)),
    ]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"betta": (1.0,)}, "config.sweep: the config has no field 'betta'. Did you mean beta?"),
        ({"optimizer.rat": (1.0,)}, "no field 'optimizer.rat'. Did you mean optimizer.rate?"),
        ({"optimizer": (1.0,)}, "no field 'optimizer'"),
        ({"beta.x": (1.0,)}, "no field 'beta.x'"),
        ({"beta": ("high",)}, "config.sweep: beta='high'"),
        ({"beta": (1.0, -1.0)}, "config.sweep, beta=-1: config.beta must be greater than 0, got -1.0"),
        ({"batch_size": (1, 2)}, "config.sweep: batch_size belongs to the whole run"),
        ({"figure.rows": ("image",)}, "config.sweep: figure.rows belongs to the whole run"),
        ({"sweep": ("x",)}, "config.sweep: sweep belongs to the whole run"),
        ({}, "config.sweep must be a grid such as"),
        ((), "config.sweep must be a grid such as"),
        (({"beta": 1.0}, {}), "config.sweep must be a grid such as"),
        ("beta", "config.sweep must be a grid such as"),
        ({"beta": (np.float64("nan"),)}, "config.sweep must be a grid such as"),
        ({"layers": ("conv1",)}, "config.layers: hog has no layers"),
        ({"mask": ("middle",)}, "config.sweep, mask=middle: config.mask: unknown mask 'middle'"),
        ({"recipe": ("hoggles",)}, "config.sweep, recipe=hoggles: config.hoggles must be a file"),
        ({"seed": (1, 1)}, "is asked for twice"),
        ({"lambda_tv": (5.0, 5)}, "is asked for twice"),
        ({"lambda_tv": (0.5, 0.5000001)}, "is asked for twice, or differs by too little"),  # one name of a file
        ({"mask": ("group 3/2",)}, "config.mask 'group 3/2', hog: 27 channels have no group 2"),
        ({"augment": ("jitter(1)" + 30 * " + jitter(1)",)}, "is too long for the name of a file"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(config, tmp_path, sweep, message):
    config.sweep = sweep
    with pytest.raises(UserError) as caught:
        run(config, tmp_path / "out")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_only_differs_in_numbers_shares_a_job(config):
    config.sweep = {"lambda_alpha": (1e8, 2e8), "seed": (0, 1), "lambda_tv": (0.5, 5.0), "beta": (1.0, 2.0)}
    jobs = plan.make_jobs(config)
    assert [len(job.rows) for job in jobs] == [16, 16]  # the exponent is another program
    problems = jobs[0].problems(jobs[0].rows, jobs[0].targets())
    assert sorted(set(np.asarray(problems.weights["alpha"]).tolist())) == [1e8, 2e8]
    assert len({tuple(key) for key in np.asarray(jax.random.key_data(problems.key)).tolist()}) == 4  # seeds × restarts


def test_values_that_are_nearly_alike_have_different_names(config):
    config.sweep = {"beta": (1.0, 1.0000001, 1e-7)}
    assert [name for name, _ in expand(config)] == ["beta=1", "beta=1.0000001", "beta=1e-07"]


def test_features_of_one_name_in_two_folders_are_told_apart(config, tmp_path):
    for seed, folder in enumerate("ab"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", np.random.default_rng(seed).random((6, 6, 27), np.float32))
    files = [str(tmp_path / folder / "x.npy") for folder in "ab"]
    config.images, config.size = (), 48
    config.sweep = [{"features": file, "lambda_alpha": weight} for file, weight in zip(files, (1.0, 2.0), strict=True)]
    first, second = plan.make_jobs(config)
    np.testing.assert_array_equal(first.targets().features[0], np.load(files[0]))
    np.testing.assert_array_equal(second.targets().features[0], np.load(files[1]))


def test_more_seeds_of_random_weights_are_the_same_run(config):
    config.representations, config.layers, config.weights = ("squeezenet",), ("conv1",), "random"
    config.sweep = {"weights_seed": (0, 1)}
    before = plan.fingerprints(plan.make_jobs(config))
    config.sweep = {"weights_seed": (0, 1, 2)}
    assert plan.fingerprints(plan.make_jobs(config)) == before


def test_weights_restarts_and_pictures_of_one_layer_compile_once(config, tmp_path, monkeypatch):
    traced, step = [], descent.step
    monkeypatch.setattr(descent, "step", lambda *arguments: traced.append(0) or step(*arguments))
    config.restarts, config.batch_size = 3, 3
    config.options.cell = 7  # of no other test, so that nothing is compiled yet; so is the 5 below
    run(config, tmp_path / "single")
    once = len(traced)
    Image.fromarray(blobs(40, seed=7)).save(tmp_path / "other.png")
    config.images = (*config.images, str(tmp_path / "other.png"))
    config.options.cell = 5
    config.sweep = {"lambda_tv": (0.5, 5.0, 50.0), "lambda_alpha": (1e8, 2e8)}
    run(config, tmp_path / "out")
    assert len(rows_of(tmp_path / "out")) == 36
    assert len(traced) == 2 * once > 0


def test_a_cell_of_a_sweep_is_what_it_is_alone(config, tmp_path):
    config.sweep = {"beta": (1.0, 2.0), "lambda_tv": (0.5, 5.0)}
    run(config, tmp_path / "sweep")
    config.sweep, config.beta, config.lambda_tv = None, 1.0, (5.0,)
    run(config, tmp_path / "alone")
    swept = [row for row in rows_of(tmp_path / "sweep") if (row["variant"], row["lambda_tv"]) == ("beta=1", "5")]
    alone = rows_of(tmp_path / "alone")
    assert [row["relative_error"] for row in swept] == [row["relative_error"] for row in alone]
    for one, other in zip(swept, alone, strict=True):
        assert (tmp_path / "sweep" / one["picture"]).read_bytes() == (
            tmp_path / "alone" / other["picture"]
        ).read_bytes()


def test_a_mask_inverts_a_part(config, tmp_path):
    config.sweep = {"mask": ("centre 1x1", "group 1/3")}
    jobs = plan.make_jobs(config)
    centre, group = (job.targets().of(0) for job in jobs)
    config.sweep = None
    whole = plan.make_jobs(config)[0].targets().of(0)
    assert np.count_nonzero(np.abs(centre).sum(axis=-1)) == 1
    np.testing.assert_array_equal(group[..., :9], whole[..., :9])
    assert not group[..., 9:].any()


def test_masks_combine_on_the_command_line(picture, tmp_path):
    """Errors are those of the part that all masks of a variant keep, in a run and in a sweep over masks."""
    overrides = [f"--config.images={picture}", "--config.size=0", "--config.steps=12", "--config.every=4"]
    both = "centre 1x1, channels 0:8"
    out, swept = tmp_path / "out", tmp_path / "swept"
    assert cli.main(["run", "base", "--workdir", str(out), *overrides, f"--config.mask={both}"]) == 0
    sweep = f"--config.sweep={{'mask': ('{both}', 'group 1/3')}}"
    assert cli.main(["run", "base", "--workdir", str(swept), *overrides, sweep]) == 0
    [alone], (combined, group) = rows_of(out), rows_of(swept)
    assert (combined["variant"], group["variant"]) == (f"mask={both}", "mask=group 1/3")
    assert (swept / combined["picture"]).read_bytes() == (out / alone["picture"]).read_bytes()
    phi = representations.get("hog")

    def seen(path):
        with np.load(path) as arrays:
            return np.asarray(phi(arrays["image"]))[2, 2, :8]  # of 5×5 cells

    original = np.asarray(Image.open(picture), np.float32)[..., None] - 128
    target, found = np.asarray(phi(original))[2, 2, :8], seen((out / alone["picture"]).with_suffix(".npz"))
    error = ((found - target) ** 2).sum() / (target**2).sum()
    np.testing.assert_allclose(float(alone["relative_error"]), error, rtol=1e-4)


def test_what_a_mask_makes_all_zero_is_told(config, tmp_path):
    half = np.zeros((64, 64), np.uint8)
    half[:, :8] = 255
    Image.fromarray(half).save(tmp_path / "half.png")
    config.images, config.mask = (str(tmp_path / "half.png"),), "centre 1x1, channels 0:8"
    with pytest.raises(Incomplete, match="half from hog first: the target feature of hog is all zero"):
        run(config, tmp_path / "out")


def test_a_larger_sweep_computes_only_what_is_new(config, tmp_path, monkeypatch):
    config.lambda_tv = (0.5,)
    run(config, tmp_path / "out")
    before = rows_of(tmp_path / "out")
    solve, computed = inversion.solve, []

    def counted(method, phi, problems, *rest):
        computed.extend(np.asarray(problems.weights["tv"]).tolist())
        return solve(method, phi, problems, *rest)

    monkeypatch.setattr(inversion, "solve", counted)
    config.lambda_tv, config.restarts = (0.5, 5.0), 3
    run(config, tmp_path / "out")
    assert sorted(computed) == [0.5, 5.0, 5.0, 5.0]
    assert rows_of(tmp_path / "out")[:2] == before and len(rows_of(tmp_path / "out")) == 6


def test_more_may_come_before_what_is_there(config, tmp_path):
    config.sweep = {"size": (48,)}
    run(config, tmp_path / "out")
    config.sweep = {"size": (40, 48)}
    run(config, tmp_path / "out")
    assert [row["variant"] for row in rows_of(tmp_path / "out")] == ["size=40"] * 2 + ["size=48"] * 2  # as planned


def test_a_study_that_cannot_be_does_not_cost_the_run(config, tmp_path, monkeypatch, capsys):
    def write(workdir):
        raise UserError(f"{workdir}: nothing could be studied")

    monkeypatch.setattr(study, "write", write)
    config.study = True
    run(config, tmp_path / "out")
    assert "nothing could be studied" in capsys.readouterr().err and (tmp_path / "out" / "report.html").exists()


def test_a_failing_cell_is_recorded_and_the_rest_goes_on(config, tmp_path, monkeypatch, capsys):
    Image.fromarray(np.full((40, 40), 128, np.uint8)).save(tmp_path / "flat.png")
    config.images = (*config.images, str(tmp_path / "flat.png"))
    config.restarts = 4
    solve = inversion.solve

    def fragile(method, phi, problems, *rest):
        if 5.0 in np.asarray(problems.weights["tv"]):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand a page of details")
        return solve(method, phi, problems, *rest)

    monkeypatch.setattr(inversion, "solve", fragile)
    config.sweep = ({"lambda_tv": 0.5}, {"lambda_tv": 5.0, "restarts": 1}, {"beta": 1.0})
    with pytest.raises(Incomplete, match=r"10 of 18 reconstructions failed, .*failures\.json"):
        run(config, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert [(row["image"], row["variant"]) for row in rows] == [("blob", "")] * 4 + [("blob", "beta=1")] * 4
    reasons = {(f["image"], f["lambda_tv"], f["variant"]): f["reason"] for f in failures(tmp_path / "out")}
    assert reasons["blob", 5.0, ""].startswith("RuntimeError: RESOURCE_EXHAUSTED: out of memory (traceback in ")
    assert "all zero" in reasons["flat", 0.5, ""] and "all zero" in reasons["flat", 0.5, "beta=1"]
    assert "failed: flat from hog" in capsys.readouterr().err

    monkeypatch.undo()  # what failed is tried again, what was found stays
    with pytest.raises(Incomplete, match="9 of 18 reconstructions failed, flat from hog first: "):
        run(config, tmp_path / "out")
    after = rows_of(tmp_path / "out")
    assert [row for row in after if row in rows] == rows and len(after) == 9


def test_what_did_not_fit_is_not_tried_again(config, tmp_path, monkeypatch):
    solve, sizes = inversion.solve, []

    def small(method, phi, problems, *rest):
        sizes.append(len(problems.weights["tv"]))
        if sizes[-1] > 2:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return solve(method, phi, problems, *rest)

    monkeypatch.setattr(inversion, "solve", small)
    config.restarts, config.batch_size = 9, 4
    run(config, tmp_path / "out")
    assert sizes == [4, 2, 2, 2, 2, 1] and len(rows_of(tmp_path / "out")) == 9


def failures(workdir):
    return json.loads((workdir / "failures.json").read_text())


def test_the_exit_code_tells_of_failures(tmp_path, capsys):
    Image.fromarray(np.full((40, 40), 128, np.uint8)).save(tmp_path / "flat.png")
    arguments = ["invert", str(tmp_path / "flat.png"), "--representation", "hog", "--size", "0", "--out"]
    assert cli.main([*arguments, str(tmp_path / "out")]) == 3
    assert re.search(
        r"invjax: error: 1 of 1 reconstructions failed, flat from hog first: .*all zero", capsys.readouterr().err
    )


def test_a_dry_run_says_what_is_left_and_writes_nothing(config, tmp_path, picture, capsys):
    overrides = [f"--config.images={picture}", "--config.size=0", "--config.steps=12", "--config.batch_size=3"]
    overrides.append("--config.sweep={'beta': (1.0, 2.0), 'lambda_tv': (0.5, 5.0)}")
    arguments = ["run", "base", "--workdir", str(tmp_path / "out"), *overrides, "--config.restarts=4"]
    assert cli.main([*arguments, "--dry_run"]) == 0
    text = capsys.readouterr().out
    assert "16 reconstructions to compute; about" in text and not (tmp_path / "out").exists()
    assert cli.main([*arguments[:-1], "--config.restarts=2"]) == 0
    capsys.readouterr()
    assert cli.main([*arguments, "--dry-run"]) == 0
    assert "8 reconstructions to compute, 8 of 16 are finished; about" in capsys.readouterr().out
    (tmp_path / "out" / "processes" / "1").mkdir(parents=True)  # as a run of several processes that was killed has it
    (tmp_path / "out" / "results.csv").rename(tmp_path / "out" / "processes" / "1" / "results.csv")
    assert cli.main([*arguments, "--dry-run"]) == 0
    assert "8 reconstructions to compute, 8 of 16 are finished; about" in capsys.readouterr().out


def test_a_config_takes_an_argument(tmp_path, picture, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from invjax.configs import base\n\n\ndef get_config(name='hog'):\n"
        "    config = base.get_config()\n    config.representations = (name,)\n    return config\n"
    )
    assert configs.load(str(path)).representations == ("hog",)
    assert configs.load(f"{path}:dsift").representations == ("dsift",)
    with pytest.raises(UserError, match="no such config file"):
        configs.load(f"{tmp_path}/other.py:dsift")
    with pytest.raises(UserError, match=r"demo:x: cannot be loaded: TypeError"):
        configs.load("demo:x")
