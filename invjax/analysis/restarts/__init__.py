"""Many reconstructions of one picture as a subject of their own: where restarts agree, and how good the best one is.

    invjax study out/layers                      # or: study.write(Path("out/layers"))
    study.pairwise_spread(out.images)            # of any restarts, without a run directory

`write` adds to a run directory

restarts.csv    how far apart restarts are, mean and best of every measure, agreement of class
distances.csv   how far apart they are, and how far from the picture, in pixels and at every layer
best_of_k.csv   what the best of 1, 2, … restarts is to be expected to reach
images/NAME/…_deviation.png, .npz   where in the picture restarts differ

beside two controls, told apart by the column `of`: the picture itself (`ceiling`), and the noise that the descents
started from (`floor`). The third control, a network with random weights, is a variant of a sweep.
"""

from invjax.analysis.restarts.measures import agreement, best_of_k, deviation_map, pairwise_spread
from invjax.analysis.restarts.tables import print_table
from invjax.analysis.restarts.write import write

__all__ = ["agreement", "best_of_k", "deviation_map", "pairwise_spread", "print_table", "write"]
