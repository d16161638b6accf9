from collections.abc import Iterator
from pathlib import Path

import pytest
from store_rig import Rig

from workshop.stores import running


@pytest.fixture(scope="module")
def store_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("store")
    with running(folder) as server:
        server.make_bucket("models")
        yield Rig(server, folder)


@pytest.fixture
def rig(store_rig: Rig) -> Rig:
    return store_rig


@pytest.fixture
def bucket_folder(rig: Rig) -> Path:
    return rig.server.folder / "models"
