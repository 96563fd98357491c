"""Everything of the user's by name in configs and commands: a network with layers, a loss, a regularizer, an optimiser,
a parameterisation, an augmentation, a start."""

import csv
import json
import zlib

import jax
import numpy as np
import pytest
from PIL import Image

from invjax import UserError, cli, images, inversion, invert, read_results, representations
from invjax.representations import receptive
from invjax.runs import config as configs
from invjax.runs import plan

from ..conftest import blobs, run

MINE = '''
import flax.linen as nn
import jax, optax
import jax.numpy as jnp
import invjax
from invjax.parameterizations import Parameterization


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (5, 5), strides=(2, 2), padding=2, name="stem")(x))
        x = nn.relu(nn.Conv(8, (3, 3), padding="VALID", name="late")(x))
        x = nn.relu(nn.Conv(8, (3, 3), strides=(2, 2), padding="VALID", name="body")(x))
        return nn.Dense(10, name="head")(x.mean((1, 2)))


def unit(x):
    return x / 100.0


def make(layer: str = "body", seed: int = 0, block: int = 1):
    """A small network."""
    spec = invjax.InputSpec(1, (128.0,), 9, 48)
    variables = jax.jit(Net().init)(jax.random.key(seed), jnp.zeros((1, 48, 48, 1)))
    return invjax.representations.from_flax(Net(), variables, spec, capture=layer, name="mine", preprocess=unit)


def cubic(feature, target):
    return jnp.sum(jnp.abs(feature - target) ** 3) / jnp.sum(jnp.abs(target) ** 3)


def power(p):
    def loss(feature, target):
        return jnp.sum(jnp.abs(feature - target) ** p) / jnp.sum(jnp.abs(target) ** p)
    return loss


def bright(u):
    return jnp.mean(u)


def shift(key, u):
    return jnp.roll(u, jax.random.randint(key, (), 0, 3), 0)


def descent(rate: float = 0.1):
    return optax.sgd(rate)


def doubled(image_shape):
    noise = lambda key: jax.random.normal(key, image_shape) / 2 / jnp.sqrt(1.0 * image_shape[0] * image_shape[1])
    return Parameterization(noise, lambda params: 2 * params, lambda u: u / 2)


def gradients(params, image):
    return image[1:, :-1] - image[:-1, 1:]


def plainly(layer: str = "a", gain: float = 1.0, **more):
    """Layers of which nothing is known."""
    return invjax.representations.from_function(gradients, {}, invjax.InputSpec(1, (128.0,)), layer=layer)


QUICK = invjax.recipes.Recipe("quick", 7, "adam", 3.0, "constant")


def quick_for(phi):
    return QUICK


def fails(layer: str = "body"):
    raise TypeError("a mistake of the user's")
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the user's file and a picture."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(MINE)
    Image.fromarray(blobs(48)).save(folder / "blob.png")
    Image.fromarray(blobs(48, 3)).save(folder / "other.png")
    return folder


def configured(folder, **fields):
    config = configs.default()
    config.images, config.representations, config.steps = (str(folder / "blob.png"),), (f"{folder}/mine.py:make",), 4
    config.layers = ("body",)
    for name, value in fields.items():
        config[name] = value
    return config


def assert_close(found, expected):
    """Targets of jitted and plain calls differ in their last bits."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02)  # grey levels


def of(folder, name):
    """A thing of the user's file, as Python has it."""
    from invjax import named

    return named.load(f"{folder}/mine.py:{name}")


# --- a network of the user's -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """A run directory: all that a network of invjax's own gets."""
    out = tmp_path_factory.mktemp("run") / "out"
    arguments = [f"--config.images=('{folder}/blob.png', '{folder}/other.png')", "--config.layers=body,stem,late"]
    arguments += [f"--config.representations={folder}/mine.py:make", "--config.restarts=2", "--config.steps=6"]
    arguments += ["--config.sweep={'options.seed': (0, 1)}", "--config.study=True", "--config.mask=centre 1x1"]
    assert cli.main(["run", "base", "--workdir", str(out), "--config.figure.field=True", *arguments]) == 0
    return out


def test_a_network_of_the_users_is_run_swept_and_read(finished):
    frame = read_results(finished)
    assert set(frame.layer) == {"stem", "late", "body"} and set(frame.variant) == {"options.seed=0", "options.seed=1"}
    assert set(frame.representation) == {"mine"} and (frame.status != "diverged").all() and len(frame) == 24
    # the network's order, not that of names or of the config
    assert dict(zip(frame.layer, frame.depth, strict=True)) == {"stem": 0, "late": 1, "body": 2}
    with (finished / "tables" / "errors.csv").open(newline="") as file:
        layers = list(dict.fromkeys(row["layer"] for row in csv.DictReader(file)))
    assert layers == ["stem", "late", "body"]


def test_a_network_of_the_users_is_studied_at_every_layer(finished):
    with (finished / "distances.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["at"] for row in rows)) == ["pixels", "stem", "late", "body", "head", "inverted"]
    with (finished / "restarts.csv").open(newline="") as file:
        assert all(row["top1"] for row in csv.DictReader(file) if row["of"] == "reconstructions")


def test_what_the_users_layers_see_is_measured(finished):
    """Windows by hand: 5, 5 + 2·2 = 9 and 9 + 2·2 = 13 pixels; strides 2, 2, 4; the first layer pads 2."""
    layers = {
        layer["name"]: layer for layer in json.loads((finished / "representations.json").read_text())["mine"]["layers"]
    }
    seen = {name: (layer["offset"], layer["window"], layer["stride"]) for name, layer in layers.items()}
    assert seen == {"stem": (-2, 5, 2), "late": (-2, 9, 2), "body": (-2, 13, 4), "head": (None, None, None)}


@pytest.mark.parametrize("layer", ["conv1", "pool1", "fire2/concat"])
def test_what_is_measured_is_what_the_table_says(layer):
    """Strided convolutions in blocks see up to a pixel more, times zero."""
    phi = representations.get("squeezenet", layer=layer, weights="random")
    [told] = [known for known in phi.origin.layers if known.name == layer]
    found = receptive.measure(phi)
    assert (found.offset, found.stride) == (told.offset, told.stride) and found.window - told.window in (0, 1)


def test_the_pages_of_a_network_of_the_users(finished):
    assert "mine" in (finished / "report.html").read_text()
    assert (finished / "figures" / "pictures.png").is_file() and (finished / "figures" / "distances.png").is_file()
    assert cli.main(["report", str(finished)]) == 0 and cli.main(["study", str(finished)]) == 0


def test_another_file_is_another_run(folder, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    config = configured(folder, representations=(f"{tmp_path}/mine.py:make",))
    run(config, tmp_path / "out")
    (tmp_path / "mine.py").write_text(MINE.replace("x / 100.0", "x / 50.0"))
    with pytest.raises(UserError) as told:
        run(config, tmp_path / "out")
    assert "mine.py" in str(told.value)


def test_a_run_grows_by_what_is_the_users(folder, tmp_path):
    config = configured(folder, representations=("hog",), layers=())
    run(config, tmp_path / "out")
    config.representations = ("hog", f"{folder}/mine.py:make")
    run(config, tmp_path / "out")
    assert set(read_results(tmp_path / "out").representation) == {"hog", "mine"}


def test_another_optimiser_is_another_run(folder, tmp_path):
    """Also the one that was the default when nobody asked."""
    config = configured(folder, representations=("hog",), layers=())
    run(config, tmp_path / "out")
    config.restarts, config.optimizer.name, config.optimizer.schedule = 2, "adam", "cosine"
    with pytest.raises(UserError, match="optimizer"):
        run(config, tmp_path / "out")
    before = json.loads((tmp_path / "out" / "config.json").read_text())  # of an earlier version
    del before["parameterization"]
    before["optimizer"] = {"name": "adam", "rate": None, "schedule": "cosine"}
    before["options"] = {"cell": None}
    (tmp_path / "out" / "config.json").write_text(json.dumps(before))
    config.optimizer.name, config.optimizer.schedule = "", ""
    run(config, tmp_path / "out")
    assert len(read_results(tmp_path / "out")) == 2


def test_layers_of_which_nothing_is_known_are_studied(folder, tmp_path):
    config = configured(folder, representations=(f"{folder}/mine.py:plainly",), layers=("a",), restarts=2, study=True)
    config.options.colour = "red"  # such a factory takes any
    run(config, tmp_path / "out")
    with (tmp_path / "out" / "distances.csv").open(newline="") as file:
        assert {row["at"] for row in csv.DictReader(file)} == {"pixels", "a", "inverted"}


def test_two_layers_at_once_are_of_their_network(folder):
    both = representations.several(f"{folder}/mine.py:make", ["stem+0.5*body"])[0]
    assert both.layer == "stem+0.5*body" and both.parts == (("body", 0.5), ("stem", 1.0))
    assert [layer.name for layer in both.origin.layers] == ["stem", "late", "body", "head"]
    assert both.origin.made_by.endswith("mine.py:make")


@pytest.mark.parametrize(
    "overrides", [["--config.representations=dsift"], ["--config.layers=a"], ["--config.images=x"]]
)
def test_a_command_is_told_a_thing_once(folder, tmp_path, overrides, capsys):
    arguments = ["invert", f"{folder}/blob.png", "--representation", f"{folder}/mine.py:make", "--layer", "body"]
    assert cli.main([*arguments, "--steps", "2", "--out", str(tmp_path / "out"), *overrides]) == 2
    assert overrides[0].split("=")[0] in capsys.readouterr().err


def test_a_command_takes_fields_of_the_config(folder, tmp_path):
    arguments = ["invert", f"{folder}/blob.png", "--representation", "hog", "--size", "48", "--steps", "2"]
    assert cli.main([*arguments, "--out", str(tmp_path / "out"), "--config.loss=l1", "--config.stretch=True"]) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["loss"] == "l1"
    assert list((tmp_path / "out" / "images" / "blob").glob("*_stretched.png"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers", ("boddy",)),
        ("representations", ("mine.py:fails",)),
        ("representations", ("mine.py:absent",)),
        ("weights", "random"),
    ],
)
def test_a_mistake_in_it_is_one_line_before_anything_is_written(folder, tmp_path, field, value, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError) as told:
        run(configured(folder, **{field: value}), tmp_path / "out")
    assert "\n" not in str(told.value) and not (tmp_path / "out").exists()


def test_options_are_those_of_the_factory(folder):
    config = configs.load("base", [f"--config.representations={folder}/mine.py:make", "--config.options.seed=3"])
    config.images = (str(folder / "blob.png"),)
    [job] = plan.make_jobs(config)
    expected = of(folder, "make")(seed=3)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), job.phi.params, expected.params))
    wrong = configs.load("base", [f"--config.representations={folder}/mine.py:make", "--config.options.blok=3"])
    wrong.images = config.images
    with pytest.raises(UserError, match=r"blok.*seed, block"):
        plan.make_jobs(wrong)


# --- the six functions by name -----------------------------------------------------------------------------------


def picture_of(folder, **fields):
    """What a config of the user's parts finds, by the plan's own jobs and `solve`."""
    [job] = plan.make_jobs(configured(folder, **fields))
    problems = job.problems(job.rows, job.targets())
    *_, last = inversion.solve(job.inverter.method, job.phi, problems, job.steps)
    return inversion.finish(job.inverter.method, job.phi, problems, last).images


def expected_of(folder, restarts=1, **options):
    """The same by `invert`."""
    phi = of(folder, "make")()
    x0 = images.load_image(folder / "blob.png", phi.input, 48)
    key = jax.random.fold_in(jax.random.key(0), zlib.crc32(b"blob"))
    return invert(phi, phi(x0), key=key, image_shape=x0.shape, restarts=restarts, steps=4, **options).images


@pytest.mark.parametrize(
    ("field", "text", "option", "name"),
    [
        ("loss", "{}:cubic", "loss", "cubic"),
        ("augment", "{}:shift", "augment", "shift"),
    ],
)
def test_a_function_of_the_users_is_the_one_of_the_config(folder, field, text, option, name):
    found = picture_of(folder, **{field: text.format(folder / "mine.py")})
    assert_close(found, expected_of(folder, **{option: of(folder, name)}))
    assert np.abs(found - picture_of(folder)).max() > 0.1


def test_a_factory_of_a_loss_with_its_options(folder):
    found = picture_of(folder, loss=f"{folder}/mine.py:power(p=3)")
    np.testing.assert_allclose(found, expected_of(folder, loss=of(folder, "cubic")), atol=1e-3)


def test_a_regularizer_of_the_users(folder):
    terms = {"bright": (5.0, f"{folder}/mine.py:bright"), "tv": None}
    found = picture_of(folder, regularizers=terms)
    assert_close(found, expected_of(folder, regularizers={"bright": (5.0, of(folder, "bright")), "tv": None}))
    assert found.mean() < picture_of(folder).mean()


def test_an_optimiser_of_the_users_and_one_of_optaxs(folder):
    for name, chosen in (
        (f"{folder}/mine.py:descent(rate=0.3)", of(folder, "descent")(0.3)),
        ("lion(learning_rate=0.01)",) * 2,
    ):
        config = configured(folder)
        config.optimizer.name = name
        [job] = plan.make_jobs(config)
        problems = job.problems(job.rows, job.targets())
        *_, last = inversion.solve(job.inverter.method, job.phi, problems, job.steps)
        found = inversion.finish(job.inverter.method, job.phi, problems, last).images
        assert_close(found, expected_of(folder, optimizer=chosen))


def test_a_parameterisation_of_the_users_and_one_of_invjaxs(folder):
    for name in (f"{folder}/mine.py:doubled", "fourier(decay=1.5)"):
        config = configured(folder, parameterization=name)
        config.optimizer.name = "adam(learning_rate=0.01)"
        [job] = plan.make_jobs(config)
        problems = job.problems(job.rows, job.targets())
        *_, last = inversion.solve(job.inverter.method, job.phi, problems, job.steps)
        found = inversion.finish(job.inverter.method, job.phi, problems, last).images
        expected = expected_of(folder, parameterization=name, optimizer="adam(learning_rate=0.01)")
        assert_close(found, expected)


@pytest.mark.parametrize("name", ["QUICK", "quick_for"])
def test_a_recipe_of_the_users(folder, name):
    [job] = plan.make_jobs(configured(folder, recipe=f"{folder}/mine.py:{name}", steps=None))
    assert job.steps == 7
    found = picture_of(folder, recipe=f"{folder}/mine.py:{name}")
    assert_close(found, expected_of(folder, recipe=of(folder, "QUICK")))
    with pytest.raises(UserError, match="bright"):
        plan.make_jobs(configured(folder, recipe=f"{folder}/mine.py:bright"))


def test_pictures_in_options_belong_to_the_run(folder, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(blobs(48, 5)).save(tmp_path / "photos" / "a.png")
    config = configured(folder, parameterization=f"phase(pictures='{tmp_path}/photos')")
    config.optimizer.name = "adam(learning_rate=0.1)"
    run(config, tmp_path / "out")
    Image.fromarray(blobs(48, 6)).save(tmp_path / "photos" / "a.png")
    config.restarts = 2
    with pytest.raises(UserError, match=r"a\.png"):
        run(config, tmp_path / "out")


def test_a_run_is_studied_from_another_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    run(configured(folder, representations=("mine.py:make",), restarts=2), tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", str(tmp_path / "out")]) == 0


def test_a_start_is_exact_and_told_in_the_record(folder, tmp_path):
    config = configured(folder, start=(str(folder / "other.png"),), every=1)
    run(config, tmp_path / "out")
    assert "start other" in json.loads((tmp_path / "out" / "pictures.json").read_text())
    phi = of(folder, "make")()
    x0, other = (images.load_image(folder / f"{name}.png", phi.input, 48) for name in ("blob", "other"))
    data = json.loads((tmp_path / "out" / "history.jsonl").read_text().splitlines()[0])["data"]
    target = np.asarray(phi(x0), np.float64)
    assert data[0] == pytest.approx(float(np.sum((phi(other) - target) ** 2) / np.sum(target**2)), rel=1e-4)


def test_starts_of_each_restart(folder):
    names = tuple(str(folder / f"{name}.png") for name in ("blob", "other"))
    [job] = plan.make_jobs(configured(folder, start=names, restarts=2))
    starts = job.problems(job.rows[::-1], job.targets()).start
    for start, name in zip(starts, ("other", "blob"), strict=True):
        np.testing.assert_array_equal(start, images.load_image(folder / f"{name}.png", job.phi.input, 48))


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"start": ("blob.png",), "restarts": 2}, "restarts"),
        ({"start": ("blob.png", "other.png"), "restarts": 3}, "start"),
        ({"start": ("absent.png",)}, "absent.png"),
        ({"start": ("blob.png",), "parameterization": "phase"}, "phase|parameterization"),
        ({"loss": "mine.py:absent"}, "absent"),
        ({"loss": "mine.py:bright"}, "loss"),
        ({"augment": "jiter(3)"}, "jiter"),
        ({"augment": "jitter(0)"}, "jitter"),
        ({"parameterization": "fourrier"}, "fourrier"),
        ({"regularizers": {"data": (1.0, "mine.py:bright")}}, "data"),
        ({"regularizers": {"x": "mine.py:bright"}}, "x"),
        ({"regularizers": 3}, "regularizers"),
        ({"regularizers": {"x": (1.0, len)}}, "regularizers"),
        ({"representations": ("json:dumps",)}, "json:dumps"),
        ({"representations": ("hog(cell=6)",)}, "options"),
    ],
)
def test_what_cannot_be_is_one_line(folder, monkeypatch, fields, what):
    monkeypatch.chdir(folder)
    config = configured(folder, **fields)
    if fields.get("parameterization") == "phase":
        config.optimizer.name = "adam(learning_rate=0.01)"
    with pytest.raises(UserError, match=what) as told:
        plan.make_jobs(config)
    assert "\n" not in str(told.value)


# --- nothing that is set is ignored ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (["--config.weights_seed=3"], "weights_seed"),
        (
            ["--config.representations=squeezenet", "--config.weights=squeezenet", "--config.weights_seed=3"],
            "weights_seed",
        ),
        (["--config.weights=random"], "weights"),
        (["--config.precision=bfloat16"], "precision"),
        (["--config.features_layout=chw"], "features_layout"),
        (["--config.hoggles=x.npz"], "hoggles"),
        (["--config.recipe=hoggles", "--config.hoggles=x.npz", "--config.steps=3"], "steps"),
        (["--config.recipe=hoggles", "--config.hoggles=x.npz", "--config.restarts=3"], "restarts"),
        (["--config.recipe=hoggles", "--config.hoggles=x.npz", "--config.optimizer.rate=3"], "optimizer.rate"),
        (["--config.optimizer.name=lion(learning_rate=1)", "--config.optimizer.rate=3"], "optimizer.rate"),
        (["--config.optimizer.name=lbfgs_linesearch", "--config.optimizer.schedule=linear"], "optimizer.schedule"),
        (["--config.regularizers={'tv': None}", "--config.beta=1"], "beta"),
        (["--config.regularizers={'tv': None}", "--config.lambda_tv=1"], "lambda_tv"),
        (["--config.regularizers={'alpha': None}", "--config.lambda_alpha=1"], "lambda_alpha"),
        (["--config.start=x.png", "--config.seed=1"], "seed"),
        (["--config.lambda_tv=0", "--config.beta=1"], "beta"),
        (["--config.lambda_alpha=0", "--config.alpha=4"], "alpha"),
        (["--config.recipe=hoggles", "--config.hoggles=x.npz", "--config.every=3"], "every"),
        (["--config.figure.field=True"], "figure.field"),
        (["--config.sweep={'weights_seed': (1, 2)}"], "weights_seed"),
        (["--config.sweep={'recipe': ('fast', 'hoggles'), 'hoggles': ('x.npz',)}"], "hoggles"),
        (["--config.sweep=({'recipe': 'hoggles', 'hoggles': 'x.npz', 'beta': 1.0},)"], "beta"),
    ],
)
def test_what_has_no_effect_is_refused_by_name(overrides, field):
    config = configs.load("base", overrides)
    with pytest.raises(UserError, match=rf"{field} has no effect: ".replace(".", r"\.")) as told:
        configs.check(config)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["--config.sweep=({'recipe': 'hoggles', 'hoggles': 'x.npz'}, {'recipe': 'fast'})", "--config.restarts=3"],
        ["--config.representations=hog,squeezenet", "--config.weights=random", "--config.weights_seed=3"],
        ["--config.precision=float32"],
    ],
)
def test_what_has_an_effect_somewhere_is_not_refused(overrides):
    configs.check(configs.load("base", overrides))


def test_an_optimizer_is_honoured_with_every_recipe(picture):
    config = configs.default()
    config.images, config.sweep = (
        (str(picture),),
        {"optimizer.name": ("", "adam", "momentum"), "recipe": ("fast", "paper")},
    )
    config.size, config.steps = 24, 5
    jobs = plan.make_jobs(config)
    found = []
    for job in jobs:
        problems = job.problems(job.rows, job.targets())
        *_, last = inversion.solve(job.inverter.method, job.phi, problems, job.steps)
        found.append(inversion.finish(job.inverter.method, job.phi, problems, last).images)
    for one in range(len(found)):
        for other in range(one):
            assert np.abs(found[one] - found[other]).max() > 0.01 or {one, other} <= {1, 5}  # paper: momentum
    assert len(jobs) >= 5
