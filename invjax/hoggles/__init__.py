"""HOGgles: HOG inverted by paired dictionaries, the method that the paper compares with.

Every window of cells of a feature is written as a sum of few feature atoms; the same sum of the picture atoms that were
learned together with them is the picture there; windows overlap and are averaged.

Reference: Vondrick, Khosla, Malisiewicz & Torralba, "HOGgles: Visualizing Object Detection Features", ICCV 2013,
section 3.4, and the authors' code ihog, whose choices are followed where the paper leaves them open.
"""

from invjax.hoggles.dictionary import Dictionary, check, load
from invjax.hoggles.inverse import invert
from invjax.hoggles.learning import train

__all__ = ["Dictionary", "check", "invert", "load", "train"]
