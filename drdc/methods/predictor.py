"""The interface of a trained method to its users: the workflow's predictions, the detector, the costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from drdc.methods.inputs import Batch


class Predictor(Protocol):
    """A trained method on the device, in evaluation mode.

    Attributes:
        record_type: what is stored of an image; its first field is `row`, that of the manifest.
        input_size: height and width of the images that it sees, in pixels.
        uses_features: whether it looks at the features of the experiment's backbone.
        batch_size: images that it computes together.
        calls: U-Net calls for an image.
        networks: all that it computes with, except that backbone.
    """

    @property
    def record_type(self) -> np.dtype[np.void]: ...

    @property
    def input_size(self) -> int: ...

    @property
    def uses_features(self) -> bool: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def calls(self) -> int: ...

    @property
    def networks(self) -> Sequence[nn.Module]: ...

    def predict(self, batch: Batch) -> NDArray[np.void]:
        """(B,) of `record_type`, with `row` 0; what is stored of an image depends on it alone."""
