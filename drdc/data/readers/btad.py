"""BTAD (BeanTech AD): categories 01, 02 and 03 in MVTec AD's layout.

Normal images are in folders called ``ok``, anomalous ones in ``ko``; masks have the image's own stem, as .bmp
or .png.
"""

from drdc.data.reader import Source

# Licence: CC BY-SA by the authors' repository, CC BY-NC-SA 4.0 by anomalib's documentation. The stricter one
# is safe. Address and SHA-256: openvinotoolkit/anomalib, src/anomalib/data/datamodules/image/btech.py. Size:
# as the server reports it, according to a public download log. Unpacked: 01 and 03 are bitmaps, 470 of 7.7 MB
# and 1,441 of 1.4 MB. Counts: the public release, 1,799 + 451 + 290, counted in OneNIP's lists; the papers
# give 2,830 images in all.
READER = Source(
    name="btad",
    title="BTAD",
    home="https://github.com/pankajmishra000/VT-ADL",
    licence="CC BY-SA 4.0 by its home page, CC BY-NC-SA 4.0 by others",
    citation="Mishra et al., VT-ADL: A Vision Transformer Network for Image Anomaly Detection and "
    "Localization, ISIE 2021",
    by_hand="download BTAD, see github.com/pankajmishra000/VT-ADL, and unpack it there, so that it contains "
    "01/train/ok, 01/test/ok, 01/test/ko and 01/ground_truth/ko",
    good="ok",
    file="btad.zip",
    urls=["https://avires.dimi.uniud.it/papers/btad/btad.zip"],
    size=1_229_193_337,
    sha256="461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
    unpacked=6_000_000_000,
    counts={"01": (400, 21, 49), "02": (399, 30, 200), "03": (1000, 400, 41)},
)
