"""One thread per process, slow files first, and a clear skip for what needs the development data."""

import os
from pathlib import Path

# `make test` runs two processes. On a machine that is busy, threads of one process that wait for each other cost more than they give.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "2")  # as many as a test may ask for
import pytest
import torch

SHARED = Path(os.environ.get("VULTUS_SHARED", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)
    import numba  # after torch, as vultus does

    numba.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, or one process would work on the last of them while the other has nothing left to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with photos, a scan and ICT-FaceKit; tests that use it carry the marker ``shared``."""
    if not SHARED.is_dir():
        pytest.skip(f"no development data at {SHARED} (set VULTUS_SHARED)")
    return SHARED
