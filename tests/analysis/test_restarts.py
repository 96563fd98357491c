"""Studies of restarts, against plain NumPy on what the run directory holds."""

import csv
import dataclasses
import itertools
import math
import shutil
import zlib

import jax
import numpy as np
import pytest
from PIL import Image

from invjax import UserError, cli, images, inversion, networks, representations
from invjax.analysis import figures, page
from invjax.analysis import restarts as study
from invjax.analysis.restarts import scope
from invjax.analysis.restarts import study as restarts_study
from invjax.analysis.restarts import tables as study_tables
from invjax.errors import Incomplete
from invjax.networks.layers import Conv, Dense, MaxPool, Relu
from invjax.networks.network import Network, chain
from invjax.representations.network import Factory
from invjax.runs import config as configs
from invjax.runs import plan
from invjax.types import InputSpec
from invjax.weights.random import draw

from ..conftest import blobs, run

RANDOM = np.random.default_rng(3)


# --- the pure functions ------------------------------------------------------------------------------------------


def distances(rows):
    """Between all pairs."""
    rows = [np.ravel(row).astype(np.float64) for row in rows]
    return [math.sqrt(((a - b) ** 2).sum()) for i, a in enumerate(rows) for b in rows[:i]]


def test_spread_is_the_mean_distance_of_all_pairs():
    features = RANDOM.normal(size=(5, 4, 3, 2)).astype(np.float32)
    assert study.pairwise_spread(features) == pytest.approx(np.mean(distances(features)), rel=1e-6)
    assert study.pairwise_spread(features, 2.5) == pytest.approx(np.mean(distances(features)) / 2.5, rel=1e-6)
    parts = {"a": features[:, :1], "b": features[:, 1:]}
    assert study.pairwise_spread(parts) == pytest.approx(np.mean(distances(features)), rel=1e-6)
    assert math.isnan(study.pairwise_spread(features[:1])) and math.isnan(study.pairwise_spread(features, 0.0))


def test_deviation_is_the_unbiased_one_of_each_pixel():
    pictures = RANDOM.normal(100, 30, (4, 3, 5, 2)).astype(np.float32)
    found = study.deviation_map(pictures)
    for row, column in np.ndindex(3, 5):
        values = pictures[:, row, column].astype(np.float64)
        variance = ((values - values.mean(axis=0)) ** 2).sum(axis=0) / 3
        assert found[row, column] == pytest.approx(math.sqrt(variance.mean()), rel=1e-5)
    assert found.dtype == np.float32 and np.isnan(study.deviation_map(pictures[:1])).all()


@pytest.mark.parametrize("highest", [False, True])
def test_the_best_of_k_is_the_mean_over_all_subsets(highest):
    values, best = RANDOM.normal(size=6).tolist(), max if highest else min
    every = [np.mean([best(chosen) for chosen in itertools.combinations(values, k)]) for k in range(1, 7)]
    np.testing.assert_allclose(study.best_of_k(values, highest=highest), every, rtol=1e-12)
    np.testing.assert_allclose(study.best_of_k([*values, math.nan], 3, highest), every[:3], rtol=1e-12)
    assert study.best_of_k([2.0], 5).tolist() == [2.0] and study.best_of_k([math.nan]).size == 0
    assert study.best_of_k([math.inf, 1.0], highest=True).tolist() == [math.inf, math.inf]
    assert np.isfinite(study.best_of_k(RANDOM.normal(size=300))).all()


def test_agreement_by_hand():
    original = np.array([0, 9, 1, 0, 0, 0, 0])  # class 1
    logits = np.array(
        [
            [0, 5, 1, 0, 0, 0, 0],  # the best
            [9, 5, 1, 0, 0, 0, 0],  # second
            [9, 1, 8, 7, 6, 0, 0],  # fifth
            [9, 1, 8, 7, 6, 5, 0],  # sixth
            [2, 2, 2, 2, 2, 2, 2],  # all the same: class 0 is the first of them
        ]
    )
    assert study.agreement(logits, original) == (1 / 5, 4 / 5)
    assert study.agreement(original[None], original) == (1, 1)


# --- run directories ---------------------------------------------------------------------------------------------


def table(workdir, name, **wanted):
    """Rows of a table, and of them those with certain values."""
    with (workdir / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if all(row[column] == value for column, value in wanted.items())]


def pictures_of(workdir, **wanted):
    """The exact pictures of the rows of results.csv."""
    rows = table(workdir, "results.csv", **wanted)
    return np.stack([np.load((workdir / row["picture"]).with_suffix(".npz"))["image"] for row in rows])


def keep_rows(workdir, wanted):
    """Drops lines of results.csv."""
    header, *lines = (workdir / "results.csv").read_text().splitlines()
    (workdir / "results.csv").write_text("".join(f"{line}\n" for line in [header, *filter(wanted, lines)]))


def number(text):
    return float(text) if text else math.nan


@pytest.fixture(scope="module", autouse=True)
def no_report():
    """Pages and figures are not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "write", lambda *_: [])
        patch.setattr(page, "write", lambda workdir: workdir)
        yield


def configured(folder, **fields):
    """A config of two pictures of 40 pixels, three restarts, five steps."""
    for name, seed in (("blob", 0), ("other", 9)):
        Image.fromarray(blobs(40, seed)).save(folder / f"{name}.png")  # 8 bits, grey: originals are exact
    config = configs.default()
    config.images = (str(folder / "blob.png"), str(folder / "other.png"))
    config.size, config.restarts, config.steps, config.batch_size = 0, 3, 5, 6
    config.update(fields)
    return config


@pytest.fixture(scope="module")
def of_hog(tmp_path_factory):
    """A studied run directory: HOG, and the middle of HOG."""
    folder = tmp_path_factory.mktemp("hog")
    run(configured(folder, sweep={"mask": ("", "centre 2x2")}), folder / "out")
    files = study.write(folder / "out")
    assert [path.name for path in files[:3]] == ["restarts.csv", "distances.csv", "best_of_k.csv"]
    assert all(path.is_file() for path in files) and len(files) == 3 + 2 * 4
    return folder / "out"


@pytest.fixture
def copy(of_hog, tmp_path):
    """The same run directory, to be spoiled."""
    return shutil.copytree(of_hog, tmp_path / "copy")


MASKS = {"default": np.ones((5, 5, 1)), "centre 2x2": np.pad(np.ones((2, 2, 1)), ((1, 2), (1, 2), (0, 0)))}


@pytest.mark.parametrize("mask", MASKS)
def test_restarts_are_what_numpy_finds(of_hog, mask):
    hog = representations.get("hog")
    originals = [images.load_image(of_hog / f"images/{name}/original.png", hog.input) for name in ("blob", "other")]
    phi = {name: MASKS[mask] * np.asarray(hog(x)) for name, x in zip(("blob", "other"), originals, strict=True)}
    [apart] = distances(phi.values())
    where = {"image": "blob", "variant": f"mask={mask}"}
    results, found = table(of_hog, "results.csv", **where), pictures_of(of_hog, **where)
    restarts, ceiling, floor = table(of_hog, "restarts.csv", **where)

    assert [row["of"] for row in (restarts, ceiling, floor)] == ["reconstructions", "ceiling", "floor"]
    assert [row["restarts"] for row in (restarts, ceiling, floor)] == ["3", "1", "3"]
    assert number(restarts["spread_pixels"]) == pytest.approx(np.mean(distances(found)) / 40, rel=1e-5)
    spread = np.mean(distances([MASKS[mask] * np.asarray(hog(picture)) for picture in found]))
    assert number(restarts["spread_features"]) == pytest.approx(spread / apart, rel=2e-3)
    for measure, best in {"relative_error": min, "normalized_error": min, "psnr": max, "ssim": max}.items():
        values = [float(row[measure]) for row in results]
        assert number(restarts[f"mean_{measure}"]) == pytest.approx(np.mean(values), rel=1e-6)
        assert number(restarts[f"best_{measure}"]) == pytest.approx(best(values), rel=1e-6)
        [second] = table(of_hog, "best_of_k.csv", **where, metric=measure, k="2")
        pairs = [best(pair) for pair in itertools.combinations(values, 2)]
        assert number(second["best"]) == pytest.approx(np.mean(pairs), rel=1e-6)


def test_controls_are_the_picture_and_the_noise_of_the_descents(of_hog):
    hog = representations.get("hog")
    original = images.load_image(of_hog / "images/blob/original.png", hog.input)
    where = {"image": "blob", "variant": "mask=default"}
    restarts, ceiling, floor = table(of_hog, "restarts.csv", **where)
    assert [ceiling[f"{kind}_relative_error"] for kind in ("mean", "best")] == ["0", "0"]
    assert [ceiling[name] for name in ("spread_pixels", "best_psnr", "best_ssim")] == ["", "inf", "1"]
    noise = []
    for restart in range(3):  # the key of a restart is that of seed, name and number
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), zlib.crc32(b"blob")), restart)
        values = np.asarray(jax.random.normal(key, (40, 40, 1)), np.float64)
        noise.append(27098.1157 / math.sqrt(227 * 227 * 3) * 40 * values / np.linalg.norm(values))
    assert number(floor["spread_pixels"]) == pytest.approx(np.mean(distances(noise)) / 40, rel=1e-5)
    phi0 = np.asarray(hog(original))
    errors = [np.sum((np.asarray(hog(x.astype(np.float32))) - phi0) ** 2) / np.sum(phi0**2) for x in noise]
    assert number(floor["mean_relative_error"]) == pytest.approx(np.mean(errors), rel=1e-2)  # votes are hard
    shown = np.clip(original + 128, 0, 255)
    psnr = [10 * math.log10(255**2 / np.mean((np.clip(x + 128, 0, 255) - shown) ** 2)) for x in noise]
    assert number(floor["best_psnr"]) == pytest.approx(max(psnr), rel=1e-5)
    assert number(floor["best_normalized_error"]) > number(restarts["best_normalized_error"])


def test_distances_at_other_representations(of_hog):
    where = {"image": "other", "variant": "mask=default"}
    rows = table(of_hog, "distances.csv", **where)
    assert [row["at"] for row in rows] == ["pixels", "hog", "hogb", "dsift", "inverted"] * 3
    assert {row["unit"] for row in table(of_hog, "restarts.csv")} == {"pictures"}
    found = pictures_of(of_hog, **where)
    for name in ("hogb", "dsift"):
        phi = representations.get(name)
        pictures = [
            images.load_image(of_hog / f"images/{image}/original.png", phi.input) for image in ("blob", "other")
        ]
        [apart] = distances([np.asarray(phi(picture)) for picture in pictures])
        features = [np.asarray(phi(picture)) for picture in found]
        [row] = table(of_hog, "distances.csv", **where, of="reconstructions", at=name)
        assert number(row["normalized_spread"]) == pytest.approx(np.mean(distances(features)) / apart, rel=1e-4)
        errors = [np.linalg.norm(feature - np.asarray(phi(pictures[1]))) for feature in features]
        assert number(row["normalized_error"]) == pytest.approx(np.mean(errors) / apart, rel=1e-4)
        norm = np.linalg.norm(np.asarray(phi(pictures[1])))
        assert number(row["error_by_norm"]) == pytest.approx(np.mean(errors) / norm, rel=1e-4)
        assert number(row["spread_by_norm"]) == pytest.approx(np.mean(distances(features)) / norm, rel=1e-4)


def same_errors(out, at):
    """Compares distances.csv with results.csv at what was inverted; the number of groups."""
    rows = table(out, "distances.csv", of="reconstructions", at=at)
    for row in rows:
        results = table(out, "results.csv", **{name: row[name] for name in study_tables.GROUP})
        expected = np.mean([float(result["normalized_error"]) for result in results])
        assert float(row["normalized_error"]) == pytest.approx(expected, rel=1e-6)
    return len(rows)


def test_distances_are_of_the_pictures_and_in_the_unit_of_the_results(tmp_path):
    """Pictures that no PNG of 8 bits holds: colours made grey and scaled. A flat one is left out of the mean."""
    for seed in range(5):
        colours = np.stack([blobs(57, 10 * seed + channel) for channel in range(3)], axis=-1)
        Image.fromarray(colours if seed != 1 else np.full((57, 57), 128, np.uint8)).save(tmp_path / f"{seed}.png")
    fields = {"images": (str(tmp_path / "[0-9].png"),), "size": 40, "sweep": {"mask": ("", "centre 3x3")}}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Incomplete, match=r"all zero.*mean distance"):
        patch.setattr(plan, "MEASURED", 4)
        run(configured(tmp_path, restarts=2, **fields), tmp_path / "out")
    assert cli.main(["study", str(tmp_path / "out")]) == 0
    assert same_errors(tmp_path / "out", "inverted") == 2 * 4
    keep_rows(tmp_path / "out", lambda row: "centre" not in row)
    study.write(tmp_path / "out")
    assert same_errors(tmp_path / "out", "hog") == 4


def test_distances_of_a_network_are_in_the_unit_of_the_results(of_network):
    assert same_errors(of_network[0], "inverted") == 2 * 2 * 2


def test_a_single_picture_has_distances_by_its_norm_only(tmp_path):
    config = configured(tmp_path)
    config.images = config.images[:1]
    run(config, tmp_path / "out")
    study.write(tmp_path / "out")
    for row in table(tmp_path / "out", "distances.csv", of="reconstructions"):
        assert (row["normalized_error"], row["normalized_spread"]) == ("", "") and float(row["spread_by_norm"]) > 0
    [row] = table(tmp_path / "out", "distances.csv", of="reconstructions", at="inverted")
    results = table(tmp_path / "out", "results.csv")
    expected = np.mean([math.sqrt(float(result["relative_error"])) for result in results])
    assert float(row["error_by_norm"]) == pytest.approx(expected, rel=1e-6)
    assert {row["unit"] for row in table(tmp_path / "out", "restarts.csv")} == {"picture"}


def test_maps_of_deviation_lie_beside_the_pictures(of_hog):
    where = {"image": "blob", "variant": "mask=default"}
    place = of_hog / table(of_hog, "results.csv", **where, restart="0")[0]["picture"].replace(
        "_r0.png", "_deviation.npz"
    )
    with np.load(place) as file:
        np.testing.assert_allclose(
            file["deviation"], pictures_of(of_hog, **where)[..., 0].std(axis=0, ddof=1), rtol=1e-4
        )
        brightest = np.argmax(file["deviation"])
    seen = np.asarray(Image.open(place.with_suffix(".png")), np.int64)
    assert seen.shape == (40, 40, 3) and seen.sum(-1).flat[brightest] == seen.sum(-1).max()


def test_a_second_study_computes_nothing_and_a_restart_more_its_group_only(copy, monkeypatch, tmp_path):
    before = (copy / "restarts.csv").read_bytes(), (copy / "distances.csv").read_bytes()
    monkeypatch.setattr(restarts_study, "build", lambda *_: pytest.fail("computed again"))
    assert [path.name for path in study.write(copy)] == ["restarts.csv", "distances.csv", "best_of_k.csv"]
    assert ((copy / "restarts.csv").read_bytes(), (copy / "distances.csv").read_bytes()) == before
    monkeypatch.undo()
    first = (copy / "results.csv").read_text().splitlines()[1]
    keep_rows(copy, lambda row: row != first)
    files = study.write(copy)
    assert len(files) == 3 + 2
    assert [row["restarts"] for row in table(copy, "restarts.csv", of="reconstructions")].count("2") == 1
    assert len(table(copy, "restarts.csv")) == 4 * 3


def test_what_is_damaged_or_missing_is_named_and_the_rest_goes_on(copy):
    for name in study_tables.COLUMNS:
        (copy / name).unlink()
    first, second, third, *_, last = table(copy, "results.csv")
    (copy / first["picture"]).with_suffix(".npz").unlink()
    (copy / second["picture"]).with_suffix(".npz").write_bytes(b"PK\x03\x04 broken")
    (copy / "images" / last["image"] / "original.npz").unlink()
    warnings = []
    study.write(copy, warnings.append)
    assert len(warnings) == 4
    assert first["picture"].replace(".png", ".npz") in warnings[0] and "missing" in warnings[0]
    assert second["picture"].replace(".png", ".npz") in warnings[1] and "damaged" in warnings[1]
    assert f"images/{last['image']}/original.npz" in warnings[2] and "without normalized distances" in warnings[2]
    assert f"images/{last['image']}/original.npz" in warnings[3] and "without the picture" in warnings[3]
    [alone] = table(copy, "restarts.csv", image=third["image"], variant=third["variant"], of="reconstructions")
    assert alone["restarts"] == "1" and alone["spread_pixels"] == "" and float(alone["mean_psnr"]) > 0
    kinds = [row["of"] for row in table(copy, "restarts.csv", image=last["image"], variant=last["variant"])]
    assert kinds == ["reconstructions", "floor"]


def test_a_single_restart_has_no_spread(copy, capsys):
    keep_rows(copy, lambda row: "_r0.png" in row)
    for path in copy.rglob("*_deviation.*"):
        path.unlink()
    assert cli.main(["study", str(copy)]) == 0
    printed = capsys.readouterr().out
    assert "hog, mask=centre" in printed and "floor" in printed
    rows = table(copy, "restarts.csv", of="reconstructions")
    assert [row["spread_pixels"] + row["spread_features"] for row in rows] == [""] * 4
    assert all(float(row["mean_normalized_error"]) > 0 for row in rows)
    assert not list(copy.rglob("*_deviation.*"))


def test_given_features_have_a_spread_only(tmp_path):
    np.save(tmp_path / "hog.npy", RANDOM.random((2, 5, 5, 27), np.float32))
    run(configured(tmp_path, images=(), features=(str(tmp_path / "hog.npy"),), size=40), tmp_path / "out")
    warnings = []
    study.write(tmp_path / "out", warnings.append)
    assert warnings == []
    restarts, floor, *_ = table(tmp_path / "out", "restarts.csv")
    hog = representations.get("hog")
    features = [np.asarray(hog(picture)) for picture in pictures_of(tmp_path / "out", image="hog-0")]
    spread = np.mean(distances(features)) / np.mean([np.linalg.norm(feature) for feature in features])
    assert number(restarts["spread_features"]) == pytest.approx(spread, rel=1e-4)
    assert restarts["unit"] == floor["unit"] == "restarts" and restarts["mean_psnr"] == ""
    assert float(restarts["mean_relative_error"]) > 0 and floor["mean_relative_error"] == ""
    rows = table(tmp_path / "out", "distances.csv")
    assert {row["normalized_error"] + row["normalized_spread"] + row["error_by_norm"] for row in rows} == {""}
    assert all(float(row["spread_by_norm"]) > 0 for row in rows)


TINY = Network(
    chain(
        ("conv1", Conv(4, 3, stride=2)),
        ("relu1", Relu()),
        ("conv2", Conv(6, 3, pad=1)),
        ("pool2", MaxPool()),
        ("fc3", Dense(8)),
    ),
    InputSpec(3, (120.0, 115.0, 100.0), size=40),
    name="tiny",
)


@pytest.fixture(scope="module")
def of_network(tmp_path_factory):
    """(run directory, file of weights): a network with weights of a file and, as another variant, random ones."""
    folder = tmp_path_factory.mktemp("network")
    weights = draw(TINY, 1, TINY.weighted())
    arrays = {f"{layer}/{kind}": array for layer, both in weights.items() for kind, array in both.items()}
    np.savez(folder / "weights.npz", **arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks._FACTORIES, "tiny", lambda: TINY)
        patch.setitem(representations._FACTORIES, "tiny", Factory("tiny"))
        # a descent takes long to compile; half of the noise will do for restarts
        patch.setattr(inversion, "advance", lambda *a: dataclasses.replace(a[3], params=a[3].params / 2))
        sweep = {"weights": (str(folder / "weights.npz"), "random")}
        fields = {"representations": ("tiny",), "layers": ("relu1", "conv1+0.5*conv2")}
        run(configured(folder, sweep=sweep, **fields), folder / "out")
        study.write(folder / "out")
        yield folder / "out", folder / "weights.npz"


def test_a_network_is_seen_at_all_its_layers(of_network):
    out, file = of_network
    where = {"image": "blob", "layer": "conv1+0.5*conv2", "variant": f"weights={file}"}
    names = ["pixels", "conv1", "relu1", "conv2", "pool2", "fc3", "inverted"]
    assert [row["at"] for row in table(out, "distances.csv", **where)] == names * 3
    seen = {}
    for name in names[1:-1]:
        phi = representations.get("tiny", layer=name, weights=str(file))
        paths = [out / f"images/{image}/original.png" for image in ("blob", "other")]
        originals = [np.ravel(phi(images.load_image(path, phi.input))) for path in paths]
        features = [np.ravel(phi(picture)) for picture in pictures_of(out, **where)]
        seen[name] = features, originals
        [apart] = distances(originals)
        [row] = table(out, "distances.csv", **where, of="reconstructions", at=name)
        assert number(row["normalized_spread"]) == pytest.approx(np.mean(distances(features)) / apart, rel=1e-4)
        errors = [np.linalg.norm(feature - originals[0]) for feature in features]
        assert number(row["normalized_error"]) == pytest.approx(np.mean(errors) / apart, rel=1e-4)
    features, originals = (
        [np.concatenate(both) for both in zip(*pair, strict=True)]
        for pair in zip(seen["conv1"], seen["conv2"], strict=True)
    )
    [row] = table(out, "restarts.csv", **where, of="reconstructions")
    spread = np.mean(distances(features)) / distances(originals)[0]
    assert number(row["spread_features"]) == pytest.approx(spread, rel=1e-4)


def test_classes_are_those_of_the_network_and_random_weights_have_none(of_network):
    out, file = of_network
    phi = representations.get("tiny", weights=str(file))
    for row in table(out, "results.csv", variant=f"weights={file}", restart="0"):
        original = np.ravel(phi(images.load_image(out / f"images/{row['image']}/original.png", phi.input)))
        where = {name: row[name] for name in ("image", "layer", "variant")}
        logits = np.stack([np.ravel(phi(picture)) for picture in pictures_of(out, **where)])
        restarts, ceiling, _ = table(out, "restarts.csv", **where)
        assert number(restarts["top1"]) == pytest.approx(np.mean(logits.argmax(axis=1) == original.argmax()), rel=1e-6)
        fifth = np.sort(logits, axis=1)[:, -5]
        assert number(restarts["top5"]) == pytest.approx(np.mean(logits[:, original.argmax()] >= fifth), rel=1e-6)
        assert (ceiling["top1"], ceiling["top5"]) == ("1", "1")
    assert {row["top1"] + row["top5"] for row in table(out, "restarts.csv", variant="weights=random")} == {""}


@pytest.mark.parametrize(
    ("name", "side", "last"),
    [("caffenet", 227, "fc8"), ("caffenet", 300, "pool5"), ("caffenet", 40, "relu5"), ("squeezenet", 35, "pool_final")],
)
def test_layers_that_a_picture_does_not_have_are_left_out(name, side, last, tmp_path):
    config = configured(tmp_path, representations=(name,), layers=("conv1",), weights="random")
    views = scope.build(config, name, ["conv1"], (side, side, 3), 2).views
    assert views[-1].names[-1] == last


def test_few_layers_at_a_time_give_the_same(of_network, tmp_path, monkeypatch):
    out = shutil.copytree(of_network[0], tmp_path / "out")
    for name in study_tables.COLUMNS:
        (out / name).unlink()
    keep_rows(out, lambda row: "random" in row and "+" not in row)
    monkeypatch.setattr(scope, "HELD", 20_000)
    built = []
    monkeypatch.setattr(restarts_study, "build", lambda *arguments: built.append(scope.build(*arguments)) or built[-1])
    study.write(out)
    assert len(built[0].views) > 3
    for row in table(out, "distances.csv"):
        where = {name: row[name] for name in ("image", "layer", "variant", "of", "at")}
        [whole] = table(of_network[0], "distances.csv", **where)
        for column in ("normalized_spread", "normalized_error", "spread_by_norm", "error_by_norm"):
            assert number(row[column]) == pytest.approx(number(whole[column]), rel=1e-4, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), "weights.npz: no such file"),
        (lambda file: file.write_bytes(b"PK"), "weights.npz"),
        (
            lambda file: np.savez(file, **{k: 2 * v for k, v in np.load(file).items()}),
            "the run's weights were weights.npz",
        ),
    ],
)
def test_weights_that_are_gone_or_others_are_one_line(of_network, tmp_path, spoil, message):
    out, file = of_network
    out, kept = shutil.copytree(out, tmp_path / "out"), file.read_bytes()
    for name in study_tables.COLUMNS:
        (out / name).unlink()
    keep_rows(out, lambda row: "seed" not in row)
    try:
        spoil(file)
        with pytest.raises(UserError, match=r"nothing could be studied: tiny, weights=.*: not studied: ") as caught:
            study.write(out, print)
    finally:
        file.write_bytes(kept)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (out / "restarts.csv").exists()


def test_weights_of_other_numbers_are_refused(of_network, tmp_path):
    out = shutil.copytree(of_network[0], tmp_path / "out")
    text = (out / "results.csv").read_text()
    (out / "results.csv").write_text(text.replace("random seed 0", "random seed 1"))
    (out / "restarts.csv").unlink()
    warnings = []
    study.write(out, warnings.append)
    assert len(warnings) == 1 and "the run's weights were random seed 1, these are random seed 0" in warnings[0]
    assert {row["variant"] for row in table(out, "restarts.csv")} == {f"weights={of_network[1]}"}


def test_other_folders_are_refused(copy, tmp_path, capsys):
    assert cli.main(["study", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: not a run directory" in capsys.readouterr().err
    (copy / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: missing or damaged"):
        study.write(copy)
