"""Where weights are published.

Hashes and licences are those that the publishers state: Caffe's model zoo, the table of checksums in MatConvNet's
`pretrained.md`, torchvision's file names (which begin like the SHA-256 of the file) and the page of the VGG models.
"""

from __future__ import annotations

import dataclasses

from invjax.errors import UserError, suggestion


@dataclasses.dataclass(frozen=True)
class Entry:
    """Published weights.

    Attributes:
        name: what `fetch` knows them by: that of their network, or network-publisher where it is not the first choice.
        url: address of the file.
        hash: of the file, "algorithm:hexadecimal digits".
        licence: what the publisher says about it, "unknown" where we found nothing.
        size: of the file in MB, None where we found nothing.
    """

    name: str
    url: str
    hash: str
    licence: str
    size: float | None = None

    @property
    def network(self) -> str:
        """Name of the network they belong to."""
        return self.name.partition("-")[0]


def _caffe(name: str, file: str, sha1: str) -> Entry:
    return Entry(name, f"http://dl.caffe.berkeleyvision.org/{file}.caffemodel", f"sha1:{sha1}", "unrestricted", 243.9)


def _matconvnet(name: str, file: str, md5: str, licence: str, size: float | None = None) -> Entry:
    return Entry(name, f"https://www.vlfeat.org/matconvnet/models/imagenet-{file}.mat", f"md5:{md5}", licence, size)


def _torchvision(name: str, file: str, sha256: str, size: float) -> Entry:
    url = f"https://download.pytorch.org/models/{file}-{sha256[:8]}.pth"
    return Entry(name, url, f"sha256:{sha256}", "not stated (torchvision itself: BSD-3-Clause)", size)


_CAFFES, _ATTRIBUTION = "unrestricted (Caffe's)", "Creative Commons Attribution"
ENTRIES = (
    _caffe("caffenet", "bvlc_reference_caffenet", "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46"),
    _matconvnet("caffenet-matconvnet", "caffe-ref", "675dd47906d34f4d9a70fc44210d3804", _CAFFES),
    _caffe("alexnet", "bvlc_alexnet", "9116a64c0fbe4459d18f4bb6b56d647b63920377"),
    _matconvnet("alexnet-matconvnet", "caffe-alex", "b5152a54bf61100a8ed61827c76e7d08", _CAFFES),
    _matconvnet("vgg_m", "vgg-m", "29294d5f62578c96a3533859514235f2", "unknown"),
    _matconvnet("vgg16", "vgg-verydeep-16", "f72d927587ca4c97fbd165ec9cb9997f", _ATTRIBUTION),
    _torchvision(
        "vgg16-torchvision", "vgg16", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0", 553.4
    ),
    _matconvnet("vgg19", "vgg-verydeep-19", "106118b7cf60435e6d8e04f6a6dc3657", _ATTRIBUTION, 534.9),
    _torchvision(
        "vgg19-torchvision", "vgg19", "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44", 574.7
    ),
    Entry(
        "squeezenet",
        "https://github.com/DeepScale/SqueezeNet/raw/master/SqueezeNet_v1.0/squeezenet_v1.0.caffemodel",
        "sha1:579d0beb658e43c45937bf8bb5e4034fea4e1f69",
        "BSD-2-Clause",
        5.0,
    ),
    _torchvision(
        "alexnet_owt", "alexnet-owt", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02", 244.4
    ),
)


def get(name: str) -> Entry:
    """The entry of that name.

    Raises:
        UserError: unknown name; the message lists the valid ones and the nearest.
    """
    names = [entry.name for entry in ENTRIES]
    if name not in names:
        raise UserError(f"no published weights called '{name}'. {suggestion(name, names)}")
    return ENTRIES[names.index(name)]
