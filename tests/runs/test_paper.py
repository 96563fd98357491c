"""The paper's configs: each can be run as its docstring says, of every network that it has layers for."""

import importlib
import pkgutil
import re

import pytest

from invjax import UserError
from invjax.configs import paper
from invjax.runs import config as configs
from invjax.runs import plan

NAMES = [module.name for module in pkgutil.iter_modules(paper.__path__)]
OF_NETWORKS = [name for name in NAMES if hasattr(importlib.import_module(f"invjax.configs.paper.{name}"), "LAYERS")]


def test_every_table_and_figure_has_one():
    figures = {"teaser", "layers", "tv_beta", "tv_lambda", "restarts", "locality", "channels", "diversity", "shallow"}
    assert set(NAMES) == figures | {"table_shallow", "table_cnn"}


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_has_the_command(name):
    lines = (importlib.import_module(f"invjax.configs.paper.{name}").__doc__ or "").splitlines()
    commands = [re.match(r"invjax run (\S+) --workdir \S+", line) for line in lines]
    named = [command[1] for command in commands if command]
    assert named and all(path.partition(":")[0] == f"paper/{name}" for path in named)
    for path in named:
        configs.load(path)


@pytest.mark.parametrize("network", ["caffenet", "squeezenet"])
@pytest.mark.parametrize("name", OF_NETWORKS)
def test_it_can_be_planned(name, network):
    config = configs.load(f"paper/{name}:{network}", ["--config.weights=random"])
    jobs = plan.make_jobs(config)
    assert {job.phi.name for job in jobs} == {network} and {job.recipe for job in jobs} == {"paper"}
    assert {job.phi.layer for job in jobs} == set(config.layers)
    cells = len(config.layers) * max(1, len(config.lambda_tv)) * config.restarts * len(config.sweep or [0])
    if isinstance(config.sweep, dict):
        [values] = config.sweep.values()
        cells = cells // len(config.sweep) * len(values)
    assert sum(len(job.rows) for job in jobs) == cells


def test_another_network_is_one_line():
    with pytest.raises(UserError, match="no layers are chosen for 'vgg16' here: take one of caffenet, squeezenet"):
        configs.load("paper/layers:vgg16")


def test_exponents_are_compared_at_equal_cost_of_an_edge():
    rows = [
        row for job in plan.make_jobs(configs.load("paper/tv_beta", ["--config.weights=random"])) for row in job.rows
    ]
    edge = 10 / (68.92 * (227 * 227 * 3) ** 0.5)
    cost = {row.variant: row.weights["tv"] * edge ** float(row.variant.removeprefix("beta=")) for row in rows}
    assert cost["beta=1"] == pytest.approx(cost["beta=2"], rel=1e-3)
