"""Configs: overrides arrive, mistakes are refused in one line before anything is computed."""

import pytest

from invjax import UserError
from invjax.runs import config as configs
from invjax.runs import fields


def loaded(*overrides):
    config = configs.load("configs/demo.py", overrides)
    configs.check(config)
    return config


def test_overrides_arrive_with_their_types():
    config = loaded(
        "--config.restarts=7",
        "--config.lambda_tv=(0.5, 5.0)",
        "--config.representations=hog,dsift",
        "--config.steps=3",
        "--config.options.cell=6",
        "--config.optimizer.rate=2.5",
    )
    assert (config.restarts, config.lambda_tv, config.steps) == (7, (0.5, 5.0), 3)
    assert config.representations == ("hog", "dsift")
    assert (config.options.cell, config.optimizer.rate) == (6, 2.5)


def test_each_field_is_declared_once_and_a_misspelt_one_is_named(tmp_path):
    assert {*fields.flat(configs.default()), "options"} == set(fields.FIELDS)  # which has no options by itself
    file = tmp_path / "mine.py"
    for line in ("config.gamma = 1", "print(config.gamma)"):
        file.write_text(f"from invjax.configs import base\ndef get_config():\n  config = base.get_config()\n  {line}\n")
        with pytest.raises(UserError, match=r"cannot be loaded: .*gamma"):
            configs.load(str(file))


def test_bundled_configs_are_found_by_name():
    assert configs.load("demo").restarts == configs.load("configs/demo.py").restarts
    assert configs.load("paper/table_shallow").recipe == "paper"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.restart=1", "'restart' Did you mean \"restarts\""),
        ("--config.nonsense=1", "no such field in configs/base.py: 'nonsense'"),
        ("--config.optimizer.speed=1", "no such field in configs/base.py: 'speed'"),
        ("--config.restarts.x=1", "restarts.x"),
        ("--config.restarts=many", "--config.restarts=many"),
        ("--config.restarts=1.5", "--config.restarts=1.5"),
        ("--config.restarts=0", "config.restarts must be at least 1, got 0"),
        ("--config.beta=0.0", "config.beta must be greater than 0"),
        ("--config.beta=nan", "config.beta must be a finite number"),
        ("--config.alpha=0.5", "config.alpha must be at least 1"),
        ("--config.lambda_tv=-1", "config.lambda_tv must be"),
        ("--config.lambda_tv=(1,1)", "differ in six digits"),
        ("--config.lambda_tv=(0.1234567,0.12345671)", "differ in six digits"),
        ("--config.lambda_tv=(1e39,)", "config.lambda_tv must be"),
        ("--config.alpha=inf", "config.alpha must be a finite number"),
        ("--config.optimizer.rate=inf", "config.optimizer.rate must be a finite number"),
        ("--config.checkpoint_seconds=nan", "config.checkpoint_seconds must be a finite number"),
        ("--config.representations=hog,hog", "different names"),
        ("--config.representations=(1,)", "names, as text"),
        ("--config.images=(1,)", "names, as text"),
        ("config.restarts=8", "unknown argument: config.restarts=8"),
        ("--config.lambda_alpha=-1.0", "config.lambda_alpha must be"),
        ("--config.size=-3", "config.size must be"),
        ("--config.steps=0", "config.steps must be"),
        ("--config.every=0", "config.every must be"),
        ("--config.batch_size=0", "config.batch_size must be"),
        ("--config.seed=-1", "config.seed must be"),
        ("--config.recipe=slow", "must be one of fast, paper, custom, hoggles, or my_file.py:name, got 'slow'"),
        ("--config.loss=l3", "config.loss: unknown loss 'l3'. Valid: euclidean"),
        ("--config.representations=hgo", "unknown representation 'hgo'. Did you mean hog? Valid: hog, hogb, dsift"),
        ("--config.representations=()", "config.representations must be"),
        ("--config.layers=conv1", "has no layers, got 'conv1'"),
        ("--conf.restarts=1", "conf.restarts"),
    ],
)
def test_a_mistake_is_one_clear_line(override, message):
    with pytest.raises(UserError) as caught:
        loaded(override)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "adamm", "momentum, sgd, adam"),
        ("schedule", "slow", "constant, cosine"),
        ("rate", 0.0, "greater than 0"),
    ],
)
def test_a_custom_optimizer_is_checked(config, field, value, message):
    config.recipe = "custom"
    config.optimizer[field] = value
    with pytest.raises(UserError, match=message):
        configs.check(config)


BASED = "from invjax.configs import base\ndef get_config():\n    config = base.get_config()\n    {}\n    return config"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def get_config(: pass", "cannot be loaded"),
        ("raise RuntimeError('no\\nluck')", "no luck"),
        ("x = 1", "get_config"),
        ("def get_config(): return 3", "get_config"),
        (BASED.format("config.restrats = 1"), 'locked. Did you mean "restarts" instead of "restrats"?'),
        (BASED.format("config.beta = config.gamma"), "'gamma'"),
        (BASED.format("config.beta = 'x'"), "beta"),
    ],
)
def test_a_config_file_that_does_not_run_is_one_line(tmp_path, source, message):
    file = tmp_path / "mine.py"
    file.write_text(source)
    with pytest.raises(UserError) as caught:
        configs.load(str(file))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_config_file_is_named():
    with pytest.raises(UserError, match=r"nowhere\.py: no such config file"):
        configs.load("nowhere.py")


def test_as_dict_is_json():
    assert configs.as_dict(configs.default())["representations"] == ["hog"]
    assert configs.as_dict(configs.default())["optimizer"]["name"] == ""
