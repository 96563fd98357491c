"""Every field of an experiment, with its default. Other configs start from this one and override fields.

invjax run configs/base.py --workdir out/base --config.images=photos --config.restarts=4

A field that is None is left to the recipe or to the paper's value. A tuple may be given on the command line with or
without brackets: --config.representations=hog,dsift or --config.lambda_tv="(0.5, 5.0)".
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """The defaults; locked, so that a misspelt field is an error."""
    config = ConfigDict()

    # What to invert
    config.images = ()  # files, folders of pictures or glob patterns; relative to where the command runs
    config.features = ()  # instead of images: files of features to be inverted, .npy, .npz, HDF5 or MATLAB's .mat
    config.features_layout = "hwc"  # axes of a feature with positions in these files: hwc or chw
    config.size = config_dict.placeholder(
        int
    )  # side in pixels: shortest side scaled to it, middle square taken; 0: the
    # picture as it is; what the representation was designed for: 227, some networks 224
    config.representations = ("hog",)  # one or more of `invjax representations`
    config.layers = ()  # of a network: each gives reconstructions of its own; "relu2+0.5*relu5" is two at once
    config.weights = ""  # of a network: a name of `invjax weights list`, a file, or random; those of the network's name
    config.weights_seed = 0  # of random weights
    config.precision = "tf32"  # of a network's products: float32, tf32 (on a CPU the same) or bfloat16, features inside
    # and kernels too; HOG and DSIFT, objective, prior and optimiser are float32 in any case
    config.options = ConfigDict()  # options of the representations, by name
    config.options.cell = config_dict.placeholder(int)  # side of a cell in pixels; HOG 8, DSIFT 5
    config.options.orientations = config_dict.placeholder(int)  # HOG 9 (undirected), DSIFT 8 (full circle)
    config.options.bilinear = config_dict.placeholder(bool)  # HOG: share votes between orientations; False

    config.mask = ""  # part of the feature: "centre 5x5" positions, "group 1/2" or "channels 0:48", or several, "centre
    # 1x1, channels 7:8"; all of it

    # How many reconstructions: images × representations × lambda_tv × restarts
    config.restarts = 1  # starts from different noise
    config.seed = 0  # of the noise; a restart's noise depends on seed, picture name and its own number only
    config.lambda_tv = ()  # weights of total variation, unit-norm form; each gives reconstructions of its own; the
    # paper's: 0.5 for HOG, DSIFT and first layers, then 5, then 50
    config.sweep = config_dict.placeholder(object)  # values for any of these fields: a grid {"beta": (1.0, 2.0),
    # "mask": ("group 1/2", "group 2/2")}, or a list ({"beta": 1.0}, {"recipe": "paper", "options.cell": 6})

    # What to minimise
    config.loss = "euclidean"  # euclidean, l1 or inner_product
    config.alpha = 6.0  # exponent of the α-norm, ≥ 1
    config.lambda_alpha = config_dict.placeholder(float)  # its weight; the paper's 4e-10·σ⁴
    config.beta = 2.0  # exponent of total variation, > 0
    config.lambda_range = 0.0  # weight of leaving the range of real pixels; 0: no such term

    # How
    config.recipe = "fast"  # fast, paper, custom: the optimizer below, on the hard votes of HOG as they are; or
    # hoggles: no descent but the dictionary below
    config.hoggles = ""  # a file of `invjax hoggles train`, for the recipe hoggles
    config.steps = config_dict.placeholder(int)  # gradient steps; the recipe's
    config.optimizer = ConfigDict()  # of the recipe "custom"
    config.optimizer.name = "adam"  # momentum (the paper's), sgd, adam, sobolev_adam, lbfgs, lbfgs_linesearch
    config.optimizer.rate = config_dict.placeholder(float)  # adam, sobolev_adam: grey levels (8, 10); others: units
    # of u (momentum and sgd 0.004, the paper's; lbfgs 0.5)
    config.optimizer.schedule = "cosine"  # constant, cosine, linear, budget, decades, paper_cnn

    # What is kept
    config.every = 10  # steps between two points of the loss curves
    config.stretch = False  # also save pictures stretched to the full range, as the paper shows them
    config.movie = False  # also save how each picture came about, as an animated WebP; not of finished ones
    config.study = False  # afterwards: how far restarts are apart, at every layer, and what a network sees in them
    config.tensorboard = False  # also write TensorBoard's event files; needs pip install 'invjax[tensorboard]'
    config.figure = ConfigDict()  # figures/pictures.png and .pdf: a grid of reconstructions
    config.figure.rows = (
        ""  # what goes down: image, representation, layer, variant, lambda_tv, restart, or label, which
    )
    # is representation, layer and variant in one; empty: what varies
    config.figure.columns = ""  # what goes across
    config.figure.field = False  # draw on the original what the masked feature sees

    # How the work is done; changes no result, and may be changed when a run goes on
    config.batch_size = config_dict.placeholder(int)  # reconstructions at once; as many as fit into memory
    config.checkpoint_seconds = 30.0  # between two checkpoints, which are made at points of the loss curves

    return config.lock()
