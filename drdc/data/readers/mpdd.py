"""MPDD (Metal Parts Defect Detection): painted metal parts in MVTec AD's layout.

Parts lie at changing angles and distances, in some categories several in one image.
"""

from drdc.data.reader import Reader

# Licence: open-edge-platform/anomalib, src/anomalib/data/datamodules/image/mpdd.py. The home page links to a
# shared folder that only a browser can read; no SHA-256 of an archive is published. Counts: 888 + 176 + 282,
# as several public repositories counted them.
READER = Reader(
    name="mpdd",
    title="MPDD",
    home="https://github.com/stepanje/MPDD",
    licence="CC BY-NC-SA 4.0, not for commercial use",
    citation="Jezek et al., Deep learning-based defect detection of metal parts: evaluating current methods "
    "in complex conditions, ICUMT 2021",
    tested="metal_plate alone, at 256 px",
    by_hand="download MPDD in a browser by the link on github.com/stepanje/MPDD and unpack it there, so that "
    "it contains bracket_black/train/good, bracket_black/test and bracket_black/ground_truth",
    counts={
        "bracket_black": (289, 32, 47),
        "bracket_brown": (185, 26, 51),
        "bracket_white": (110, 30, 30),
        "connector": (128, 30, 14),
        "metal_plate": (54, 26, 71),
        "tubes": (122, 32, 69),
    },
)
