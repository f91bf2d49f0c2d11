"""Few threads, and a clear skip for what needs the development data."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")
import pytest
import torch

SHARED = Path(os.environ.get("VULTUS_SHARED", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True, scope="session")
def few_threads():
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with photos, a scan and ICT-FaceKit; tests that use it carry the marker ``shared``."""
    if not SHARED.is_dir():
        pytest.skip(f"no development data at {SHARED} (set VULTUS_SHARED)")
    return SHARED
