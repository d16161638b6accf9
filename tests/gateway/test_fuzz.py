"""What clients and enemies send: never a fault of the gateway's, never a hang, and each row is what was sent or is not there.

The same requests are drawn in two ways: by hypothesis, a few hundred of them and always the same, and by seeds, a million. Of
the million nine in ten end where a body has been read (fuzz_parse.py): what is taken there must be what the body says, and
storable. The others go through a whole gateway, its arms and PostgreSQL, with every row compared before and after.
"""

import os
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from random import Random

import fuzz_parse
import pytest
from fuzz_bodies import POSTED, read, request
from fuzz_parse import NOW, through
from fuzz_world import World
from gateway_rig import Rig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BODIES = int(os.environ.get("TRADEWIND_FUZZ_BODIES", "1000000"))
"""Bodies of the soak, of which one in ten goes through a whole gateway."""
FUZZ = settings(derandomize=True, deadline=None, suppress_health_check=[*HealthCheck], database=None)
DOCUMENT = fuzz_parse.routing()


# --- read -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", POSTED)
@settings(FUZZ, max_examples=150)
@given(random=st.randoms(use_true_random=False))
def test_what_is_read_of_a_body_is_what_it_says(door: str, random: Random) -> None:
    through(request(random, NOW, door), DOCUMENT)


@pytest.mark.slow
@pytest.mark.timeout(12 * 3600)
def test_what_is_read_of_a_million_bodies_is_what_they_say() -> None:
    workers, count = os.cpu_count() or 1, BODIES - BODIES // 10
    share = min(5000, -(-count // workers))
    found = Counter[str]()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for part in [
            pool.submit(fuzz_parse.soak, first, min(share, count - first)) for first in range(0, count, share)
        ]:
            found += part.result()
    print(dict(sorted(found.items())))
    assert found.total() == count
    assert all(found[f"{door} taken"] for door in POSTED)


# --- a whole gateway --------------------------------------------------------------------------------------------------


@pytest.fixture
async def world(rig: Rig) -> AsyncIterator[World]:
    rig.publish(experiment=rig.experiment(candidateWeight="1"), externalFields=None)
    made = World(rig, await rig.gateway(openai=True))
    await made.build()
    yield made
    made.close()


@settings(FUZZ, max_examples=400)
@given(random=st.randoms(use_true_random=False))
async def test_each_row_is_what_was_sent_or_is_not_there(world: World, random: Random) -> None:
    await world.send(read(random) if random.randrange(12) == 0 else request(random, datetime.now(UTC)))


@pytest.mark.slow
@pytest.mark.timeout(12 * 3600)
async def test_each_row_of_a_hundred_thousand_requests_is_what_was_sent(world: World) -> None:
    for seed in range(BODIES // 10):
        random = Random(f"gateway {seed}")
        await world.send(read(random) if random.randrange(12) == 0 else request(random, datetime.now(UTC)))
    print(dict(sorted(world.found.items())))
    assert all(world.found[f"{door} 200"] for door in POSTED)
