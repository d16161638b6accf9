from collections.abc import Iterator
from pathlib import Path

import pytest
from store_rig import Rig

from workshop.stores import running


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("store")
    with running(folder) as server:
        server.make_bucket("models")
        yield Rig(server, folder)


@pytest.fixture
def bucket_folder(rig: Rig) -> Path:
    return rig.server.folder / "models"
