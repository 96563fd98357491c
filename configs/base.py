"""Every field of an experiment, with its default. Other configs start from this one and override fields.

invjax run configs/base.py --workdir out/base --config.images=photos --config.restarts=4

A field that is None or empty is left to the recipe or to the paper's value. A tuple may be given on the command line
with or without brackets: --config.representations=hog,dsift or --config.lambda_tv="(0.5, 5.0)". What is made by name
may have options, "fourier(decay=1.5)", and may be yours: "my_file.py:name", or "package.module:name". A field that is
set and has no effect is refused.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """The defaults; locked, so that a misspelt field is an error."""
    config = ConfigDict()

    # --- What to invert ---

    # Files, folders of pictures or glob patterns, relative to where the command runs.
    config.images = ()
    # Instead of images, files of features to be inverted: .npy, .npz, HDF5 or MATLAB's .mat.
    config.features = ()
    # Axes of a feature with positions in these files: hwc or chw.
    config.features_layout = "hwc"
    # Side in pixels: the shortest side is scaled to it, and the middle square taken. 0 is the picture as it is, None
    # what the representation was designed for: 227, of some networks 224.
    config.size = config_dict.placeholder(int)
    # One or more of `invjax representations`, or yours, "my_file.py:make".
    config.representations = ("hog",)
    # Of a network: each gives reconstructions of its own; "relu2+0.5*relu5" is two at once.
    config.layers = ()
    # Of a network: a name of `invjax weights list`, a file, or random; empty: those of the network's name.
    config.weights = ""
    # Of random weights.
    config.weights_seed = 0
    # Of a network's products: float32, tf32 (the same on a CPU) or bfloat16, features inside and kernels too. All else
    # is float32 in any case.
    config.precision = "tf32"
    # Options of the representations, whatever they have (`invjax representations NAME`): --config.options.cell=6
    config.options = ConfigDict()
    # Part of the feature: "centre 5x5" positions, "group 1/2" or "channels 0:48", or what several of them keep,
    # "centre 1x1, channels 7:8"; empty: all of it.
    config.mask = ""

    # --- How many: images × representations × layers × lambda_tv × restarts ---

    # Starts from different noise.
    config.restarts = 1
    # Of the noise; that of a restart depends on the seed, the picture's name and its own number only.
    config.seed = 0
    # Weights of total variation, unit-norm form; each gives reconstructions of its own. The paper's: 0.5 for HOG, DSIFT
    # and first layers, then 5, then 50.
    config.lambda_tv = ()
    # Values for any of these fields: a grid {"beta": (1.0, 2.0), "mask": ("group 1/2", "group 2/2")}, or a list
    # ({"beta": 1.0}, {"recipe": "paper", "options.cell": 6}).
    config.sweep = config_dict.placeholder(object)

    # --- What to minimise ---

    # euclidean, l1 or inner_product, or yours, a function (Φ(x), Φ₀) → scalar.
    config.loss = "euclidean"
    # Exponent of the α-norm, ≥ 1.
    config.alpha = 6.0
    # Its weight; the paper's is 4e-10·σ⁴.
    config.lambda_alpha = config_dict.placeholder(float)
    # Exponent of total variation, > 0.
    config.beta = 2.0
    # Weight of leaving the range of real pixels; 0: no such term.
    config.lambda_range = 0.0
    # More terms, {"smooth": (0.1, "my_file.py:smooth")}, functions u → scalar with their weights; "alpha", "tv" or
    # "range" replaces that term, and None takes it away.
    config.regularizers = config_dict.placeholder(object)

    # --- How ---

    # fast, paper, custom: fast on the hard votes of HOG as they are, by plain adam; or hoggles: no descent but the
    # dictionary below.
    config.recipe = "fast"
    # A file of `invjax hoggles train`, for the recipe hoggles.
    config.hoggles = ""
    # Gradient steps; the recipe's.
    config.steps = config_dict.placeholder(int)
    # Instead of the recipe's optimiser
    config.optimizer = ConfigDict()
    # momentum (the paper's), sgd, adam, sobolev_adam, lbfgs, lbfgs_linesearch; any of optax's with its options, as in
    # "adamw(learning_rate=0.01)"; or yours.
    config.optimizer.name = ""
    # Of the former: in grey levels of adam (8) and sobolev_adam (10), else in units of u (momentum and sgd 0.004, the
    # paper's; lbfgs 0.5).
    config.optimizer.rate = config_dict.placeholder(float)
    # constant, cosine, linear, budget, decades or paper_cnn.
    config.optimizer.schedule = ""
    # What is optimised: pixels, fourier, phase or network, or yours.
    config.parameterization = "pixels"
    # What Φ is shown of the picture in each step: "jitter(8) + rotation(5)", of jitter, scale, crop, rotation, or
    # yours, a function (key, u) → u; empty: the picture itself.
    config.augment = ""
    # A picture to start from, or one for each restart: files, folders or patterns; empty: noise.
    config.start = ()

    # --- What is kept ---

    # Steps between two points of the loss curves.
    config.every = 10
    # Also save pictures stretched to the full range, as the paper shows them.
    config.stretch = False
    # Also save how each picture came about, as an animated WebP; not of finished ones.
    config.movie = False
    # Afterwards: how far restarts are apart, at every layer, and what a network sees in them.
    config.study = False
    # Also write TensorBoard's event files; needs pip install 'invjax[tensorboard]'.
    config.tensorboard = False
    # figures/pictures.png and .pdf: a grid of reconstructions
    config.figure = ConfigDict()
    # What goes down: image, representation, layer, variant, lambda_tv, restart, or label, which is representation,
    # layer and variant in one; empty: what varies.
    config.figure.rows = ""
    # What goes across.
    config.figure.columns = ""
    # Draw on the original what the masked feature sees.
    config.figure.field = False

    # --- How the work is done; changes no result, and may be changed when a run goes on ---

    # Reconstructions at once; as many as fit into memory.
    config.batch_size = config_dict.placeholder(int)
    # Between two checkpoints, which are made at points of the loss curves.
    config.checkpoint_seconds = 30.0

    config.lock()
    config.options.unlock()  # they are what the representations say
    return config
