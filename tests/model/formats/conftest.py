from pathlib import Path

import pytest
from synthetic_bfm import write_synthetic_bfm

from vultus.model.catalog import load_model


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory):
    """Registrations are kept for these tests only: the user's cache is neither used nor touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def synthetic_bfm(tmp_path_factory) -> tuple[Path, dict]:
    """The file's place and what is in it."""
    path = tmp_path_factory.mktemp("bfm") / "BFM_model_front.mat"
    return path, write_synthetic_bfm(path)


@pytest.fixture(scope="session")
def bfm(synthetic_bfm):
    return load_model(f"bfm:{synthetic_bfm[0]}")
