"""MVTec AD, and any other dataset in its layout: objects and textures of industrial inspection.

Layout: ``<category>/train/good``, ``<category>/test/<defect>`` and, optional for a whole category,
``<category>/ground_truth/<defect>/<stem>_mask.png`` (the image's own stem and other image extensions are
accepted too). A category may lack test images, never training images. A root that contains ``train/good``
itself is one category of the folder's name.
"""

from drdc.data.reader import Source
from drdc.data.tree import LAYOUT

# First address and SHA-256: openvinotoolkit/anomalib, src/anomalib/data/datamodules/image/mvtecad.py. Second
# address, of the same SHA-256, and size: as public download scripts that verify both give them. Licence: its
# home page. Counts: the paper, 3,629 + 467 + 1,258. Unpacked: PNG, which xz hardly makes smaller.
READER = Source(
    name="mvtec",
    title="MVTec AD",
    home="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    licence="CC BY-NC-SA 4.0, not for commercial use",
    citation="Bergmann et al., MVTec AD — A Comprehensive Real-World Dataset for Unsupervised Anomaly "
    "Detection, CVPR 2019",
    tested="bottle, grid and toothbrush, at 256 px",
    by_hand="download MVTec AD from www.mvtec.com/company/research/datasets/mvtec-ad and unpack it there, so "
    f"that it contains {LAYOUT}",
    file="mvtec_anomaly_detection.tar.xz",
    urls=[
        "https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/download/420938113-1629952094/mvtec_anomaly_detection.tar.xz",
        "https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/420938113-1629960298/mvtec_anomaly_detection.tar.xz",
    ],
    size=5_264_982_680,
    sha256="cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
    unpacked=5_300_000_000,
    counts={
        "bottle": (209, 20, 63),
        "cable": (224, 58, 92),
        "capsule": (219, 23, 109),
        "hazelnut": (391, 40, 70),
        "metal_nut": (220, 22, 93),
        "pill": (267, 26, 141),
        "screw": (320, 41, 119),
        "toothbrush": (60, 12, 30),
        "transistor": (213, 60, 40),
        "zipper": (240, 32, 119),
        "carpet": (280, 28, 89),
        "grid": (264, 21, 57),
        "leather": (245, 32, 92),
        "tile": (230, 33, 84),
        "wood": (247, 19, 60),
    },
)
