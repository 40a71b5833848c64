"""Write golden.safetensors anew: `python tests/parity/make.py`, after a comparison as in docs/parity.md."""

from __future__ import annotations

from cases import CASES, computed
from safetensors.torch import save_file
from test_parity import GOLDEN

save_file({f"{name}.{key}": value for name in CASES for key, value in computed(name).items()}, GOLDEN)
