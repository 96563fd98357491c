"""The cache, the names of weights, random ones, and the command line."""

import math

import numpy as np
import pytest
from safetensors import safe_open

from invjax import UserError, cli, networks, weights
from invjax.weights import catalog
from tests.weights import common
from tests.weights.common import TINY, canonical, numbers

LAYERS = numbers()
RGB = canonical(LAYERS)


@pytest.fixture
def path(write):
    return write(common.npz(RGB), "tiny.npz")


# --- the cache ---------------------------------------------------------------------------------------------------


def test_import_and_load(path, cache):
    stored = weights.import_file(path, TINY)
    assert stored == cache / "tiny.safetensors" and list(cache.iterdir()) == [stored]
    loaded = weights.load(TINY)
    assert loaded.source.startswith("tiny sha256:") and loaded.mean == (120, 115, 100)
    for name, arrays in RGB.items():
        np.testing.assert_array_equal(loaded.params[name]["kernel"], arrays["kernel"])
    with safe_open(stored, framework="numpy") as file:
        assert file.metadata().keys() == {"network", "mean", "source", "sha256"}


def test_what_is_imported_can_be_imported_again(path, cache):
    stored = weights.import_file(path, TINY)
    first = stored.read_bytes()
    weights.import_file(stored, TINY, "again")
    assert weights.load(TINY, "again").params["conv1"]["kernel"].tobytes() in first


def test_the_mean_of_the_file_is_kept(write):
    weights.import_file(write(common.matconvnet(LAYERS)), TINY)
    assert weights.load(TINY).mean == (121, 116, 101)


def test_other_names(path):
    weights.import_file(path, TINY, "mine-2.0")
    assert weights.load(TINY, "mine-2.0").source.startswith("mine-2.0 sha256:")
    for name in ("../mine", "random", "a b", "", ".hidden"):
        with pytest.raises(UserError, match="cannot be the name of weights"):
            weights.stored(name)


@pytest.mark.parametrize("source", ["", "file", "random"])
def test_only_some_layers(path, source):
    weights.import_file(path, TINY)
    source = str(path) if source == "file" else source
    whole = weights.load(TINY, source).params
    for some in (
        weights.load(TINY, source, only=["conv2", "relu1"]).params,
        weights.load(TINY.until("conv2"), source, only=("conv2",)).params,
    ):
        assert some.keys() == {"conv2"}
        np.testing.assert_array_equal(some["conv2"]["kernel"], whole["conv2"]["kernel"])
    assert weights.load(TINY.until("conv2"), source).params.keys() == {"conv1", "conv2"}


def test_no_weights():
    with pytest.raises(UserError) as error:
        weights.load(networks.get("caffenet"))
    for part in ("invjax weights fetch caffenet", "invjax weights import FILE --network caffenet", '"random"'):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_of_that_network_under_another_name(cache, path):
    weights.import_file(path, TINY, "vgg16-torchvision")
    with pytest.raises(UserError, match=r"; there are vgg16-torchvision$"):
        weights.load(networks.get("vgg16"))


def test_weights_of_another_network(path):
    weights.import_file(path, TINY, "mine")
    with pytest.raises(UserError, match="mine holds weights of tiny, not of vgg16"):
        weights.load(networks.get("vgg16"), "mine")


def test_an_unknown_source():
    with pytest.raises(UserError, match=r"nonsense: no such file, nor weights of that name; published ones: caffenet,"):
        weights.load(TINY, "nonsense")


@pytest.mark.parametrize("spoil", [lambda data: data[:-9], lambda data: b"", lambda data: b"\xff" * len(data)])
def test_a_damaged_cache(path, spoil):
    stored = weights.import_file(path, TINY)
    stored.write_bytes(spoil(stored.read_bytes()))
    with pytest.raises(UserError, match=r"tiny\.safetensors: damaged .*: fetch or import it again"):
        weights.load(TINY)


def test_a_cache_that_cannot_be_written(path, cache):
    cache.write_text("in the way")
    with pytest.raises(OSError):
        weights.import_file(path, TINY)


def test_the_systems_place_for_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("INVJAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.cache().name == "invjax"


# --- random weights ----------------------------------------------------------------------------------------------


def test_random():
    one, same, other = (weights.load(networks.get("squeezenet"), "random", seed) for seed in (1, 1, -2))
    assert one.source == "random seed 1" and one.mean == networks.get("squeezenet").input.mean
    kernels = [loaded.params["conv_final"]["kernel"] for loaded in (one, same, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert abs(np.corrcoef(kernels[0].ravel(), kernels[2].ravel())[0, 1]) < 0.01
    assert kernels[0].dtype == np.float32 and abs(kernels[0].mean()) < 1e-3
    assert kernels[0].std() == pytest.approx(math.sqrt(2 / 512), rel=0.01)
    assert not one.params["conv_final"]["bias"].any()


# --- the catalog and the command line ----------------------------------------------------------------------------


def test_catalog():
    assert {entry.network for entry in weights.ENTRIES} == set(networks.names())
    assert set(networks.names()) <= {entry.name for entry in weights.ENTRIES}
    digits = {"md5": 32, "sha1": 40, "sha256": 64}
    for entry in weights.ENTRIES:
        algorithm, _, value = entry.hash.partition(":")
        assert len(value) == digits[algorithm] and int(value, 16)
        if "torchvision" in entry.name or entry.name == "alexnet_owt":
            assert entry.url.endswith(f"-{value[:8]}.pth")
    with pytest.raises(UserError, match=r"no published weights called 'cafenet'. Did you mean caffenet\? Valid: caff"):
        catalog.get("cafenet")


def test_list(capsys, path):
    weights.import_file(path, TINY, "mine")
    weights.import_file(path, TINY, "vgg_m")
    assert cli.main(["weights", "list"]) == 0
    printed = capsys.readouterr().out
    for entry in weights.ENTRIES:
        assert entry.url in printed and entry.hash in printed and entry.licence in printed
    assert printed.count("not cached") == len(weights.ENTRIES) - 1
    assert "mine                 imported: " in printed


def test_import(capsys, write, cache):
    path = write(common.npz(LAYERS))
    assert cli.main(["weights", "import", str(path), "--network", "tiny", "--name", "a", "--colours", "bgr"]) == 0
    assert capsys.readouterr().out == f"{cache / 'a.safetensors'}\n"
    expected = RGB["conv1"]["kernel"][:, :, ::-1]
    np.testing.assert_array_equal(weights.load(TINY, "a").params["conv1"]["kernel"], expected)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["import", "FILE"], "the following arguments are required: --network"),
        (["import", "FILE", "--network", "tiny"], "does not tell the order of colours"),
        (["import", "FILE", "--network", "tinny"], "unknown network 'tinny'"),
        (["import", "nowhere", "--network", "tiny"], "nowhere: no such file"),
        (["fetch", "tinny"], "no published weights called 'tinny'"),
        ([], "the following arguments are required: ACTION"),
    ],
)
def test_mistakes_are_one_line(capsys, write, arguments, message):
    path = str(write(common.npz(LAYERS)))
    assert cli.main(["weights", *(path if argument == "FILE" else argument for argument in arguments)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and not printed.out
