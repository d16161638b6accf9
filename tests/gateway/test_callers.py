"""Who may call: several tokens at a time, exchanged under a running gateway, and how often a peer may be wrong."""

import os
from pathlib import Path

import pytest
from gateway_rig import ask

from tradewind.gateway.callers import Callers
from tradewind.gateway.errors import ApiError, ErrorCode


class Door:
    """Callers of a file, at a time that the test sets."""

    def __init__(self, path: Path) -> None:
        self.now, self.told = 0.0, list[str]()
        self.callers = Callers(path, self.told.append, lambda: self.now)

    def ask(self, token: str, peer: str = "10.0.0.1") -> str | None:
        try:
            self.callers.demand(f"Bearer {token}", peer)
        except ApiError as error:
            return error.code
        return None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("new\nold\n")
    return path


def test_every_line_is_a_token_until_it_is_taken_out(file: Path) -> None:
    door = Door(file)
    assert [door.ask(token) for token in ("new", "old")] == [None, None]
    for wrong in ("new\nold", "newold", "", "n", "new old"):
        assert door.ask(wrong) == ErrorCode.UNAUTHORIZED
    file.write_text("\n new \r\n\n")
    assert (door.ask("new"), door.ask("old")) == (None, ErrorCode.UNAUTHORIZED)


def test_a_secret_is_exchanged_as_the_kubelet_does_it(tmp_path: Path) -> None:
    """Another folder behind the same link, with a token of the same length and the same time of change."""
    for folder, token in (("one", "aaaa"), ("two", "bbbb")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "token").write_text(token)
        os.utime(tmp_path / folder / "token", (1, 1))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "token").symlink_to("..data/token")
    door = Door(tmp_path / "token")
    assert (door.ask("aaaa"), door.ask("bbbb")) == (None, ErrorCode.UNAUTHORIZED)
    (tmp_path / "..next").symlink_to("two")
    (tmp_path / "..next").rename(tmp_path / "..data")
    assert (door.ask("bbbb"), door.ask("aaaa")) == (None, ErrorCode.UNAUTHORIZED)


@pytest.mark.parametrize("text", ["", "\n \n", "good\nb\u00e4d\n", "good\nb\x01d\n", "\n".join(map(str, range(17)))])
def test_a_file_that_is_not_tokens_lets_nobody_in(file: Path, text: str) -> None:
    door = Door(file)
    assert door.ask("new") is None
    file.write_text(text, encoding="utf-8")
    assert {door.ask(token) for token in ("new", "good", "", "0")} == {ErrorCode.TOKEN_UNREADABLE}
    file.write_text("new\n")
    assert door.ask("new") is None


def test_who_is_wrong_too_often_waits_and_others_do_not(file: Path) -> None:
    door = Door(file)
    answers = [door.ask(f"guess-{n}") for n in range(100)]
    assert answers == [ErrorCode.UNAUTHORIZED] * 30 + [ErrorCode.UNAUTHORIZED_TOO_OFTEN] * 70
    assert door.told == [str(code) for code in answers]
    assert door.ask("guess", peer="10.0.0.2") == ErrorCode.UNAUTHORIZED
    assert door.ask("old") is None, "callers behind the same Ingress"
    with pytest.raises(ApiError) as caught:
        door.callers.demand("Bearer guess", "10.0.0.1")
    assert caught.value.headers() == {"Retry-After": "1"}
    door.now = 1.0
    assert door.ask("guess") == ErrorCode.UNAUTHORIZED


async def test_a_gateway_takes_both_tokens_and_answers_429_after_many_wrong_ones(rig, file: Path) -> None:
    gateway = await rig.gateway(auth_token_file=file)
    for number, token in enumerate(("old", "new")):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await gateway.post("/v1/decisions", json=ask(f"d{number}"), headers=headers)).status_code == 200
    answers = [await gateway.get("/v1/performance") for _ in range(40)]
    assert [answers[0].status_code, answers[-1].status_code] == [401, 429]
    assert answers[-1].json()["error"]["code"] == "unauthorized_too_often"
    assert answers[-1].headers["Retry-After"] == "1"
    metrics = (await gateway.get("/metrics")).text
    assert 'tradewind_unauthorized_total{code="unauthorized_too_often"}' in metrics
