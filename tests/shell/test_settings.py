"""Settings: what is missing is named together with the remedy."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tradewind.core.policy import Policy
from tradewind.shell.settings import SettingsError, settings_from_environment

WHOLE = {
    "TRADEWIND_ROUTING_KEY_FILE": "routing.key",  # where it lies in a test, the fixture says
    "TRADEWIND_NAMESPACE": "tradewind-system",
    "TRADEWIND_IMAGE_GATEWAY": "g:1",
    "TRADEWIND_IMAGE_PREDICTOR": "p:1",
    "TRADEWIND_IMAGE_TRAINER": "t:1",
}


@pytest.fixture(autouse=True)
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "routing.key"
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setitem(WHOLE, "TRADEWIND_ROUTING_KEY_FILE", str(path))
    return path


def test_gateways_are_told_the_public_keys_and_nothing_shows_the_private_one(key_file: Path) -> None:
    older = settings_from_environment(WHOLE).platform.routing_keys
    key = Ed25519PrivateKey.generate()
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    settings = settings_from_environment(WHOLE | {"TRADEWIND_ROUTING_TRUSTED_KEYS": f" {older[0]}, "})
    assert settings.platform.routing_keys == (*settings.signer.public_keys[:1], *older)
    assert len(set(settings.platform.routing_keys)) == 2
    assert key_file.read_text().splitlines()[1] not in repr(settings)


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_cannot_be_used_is_named_with_its_remedy_and_not_shown(
    key_file: Path, content: bytes | None
) -> None:
    if content is None:
        key_file.unlink()
    else:
        key_file.write_bytes(content)
    remedy = "routing.existingSecret" if content is None else "openssl genpkey -algorithm ed25519"
    with pytest.raises(SettingsError, match=rf"TRADEWIND_ROUTING_KEY_FILE: .*{remedy}") as error:
        settings_from_environment(WHOLE)
    assert "secret\n" not in str(error.value)


def test_a_trusted_key_that_is_none_is_named() -> None:
    with pytest.raises(SettingsError, match="TRADEWIND_ROUTING_TRUSTED_KEYS: key 1 is no Ed25519 public key"):
        settings_from_environment(WHOLE | {"TRADEWIND_ROUTING_TRUSTED_KEYS": "bm9uZQ=="})


def test_vllm_is_served_where_an_image_is_named() -> None:
    assert settings_from_environment(WHOLE).platform.vllm_image == ""
    more = {"TRADEWIND_IMAGE_VLLM": "vllm:1", "TRADEWIND_PULL_SECRETS_VLLM": "acr, v"}
    platform = settings_from_environment(WHOLE | more).platform
    assert (platform.vllm_image, platform.vllm_pull_secrets) == ("vllm:1", ("acr", "v"))


def test_defaults() -> None:
    settings = settings_from_environment(WHOLE)
    assert settings.platform.installation == "tradewind"
    assert settings.dsn is None
    assert settings.watch_namespaces == ()
    assert (settings.workers, settings.resync_seconds) == (4, 30.0)


def test_lists_and_numbers_are_read() -> None:
    settings = settings_from_environment(
        WHOLE | {"TRADEWIND_WATCH_NAMESPACES": "a, b c", "TRADEWIND_WORKERS": "9", "TRADEWIND_DSN": "postgresql://x"}
    )
    assert settings.watch_namespaces == ("a", "b", "c")
    assert settings.workers == 9
    assert settings.dsn == "postgresql://x"


def test_a_shard_has_its_part_of_the_namespaces_in_whatever_order_they_are_named() -> None:
    named = {"TRADEWIND_WATCH_NAMESPACES": "c, a b"}
    parts = [settings_from_environment(WHOLE | named | {"TRADEWIND_SHARD": f"{index}/2"}) for index in (0, 1)]
    assert [part.watch_namespaces for part in parts] == [("a", "c"), ("b",)]
    assert parts[0].shard.layout == parts[1].shard.layout
    by_label = settings_from_environment(WHOLE | {"TRADEWIND_SHARD": "1/2"})
    assert (by_label.shard.index, by_label.shard.count, by_label.watch_namespaces) == (1, 2, ())
    assert settings_from_environment(WHOLE | named).shard.layout is None


@pytest.mark.parametrize("text", ["2/2", "0/0", "-1/2", "1", "one/2", "0/2/3", "0/12345", "0 / 2"])
def test_a_shard_that_is_none_is_named_with_its_remedy(text: str) -> None:
    with pytest.raises(SettingsError, match=rf"TRADEWIND_SHARD must be INDEX/COUNT .* got '{text}'.*operator.shards"):
        settings_from_environment(WHOLE | {"TRADEWIND_SHARD": text})


def test_a_shard_without_a_namespace_is_refused() -> None:
    more = {"TRADEWIND_WATCH_NAMESPACES": "a,b,a", "TRADEWIND_SHARD": "2/3"}
    with pytest.raises(SettingsError, match=r"TRADEWIND_SHARD: 3 shards leave shard 2 none of the 2 .*name more"):
        settings_from_environment(WHOLE | more)


def test_what_authors_may_do_is_read_and_refused_where_nothing_is_said() -> None:
    assert settings_from_environment(WHOLE).platform.policy == Policy()
    assert not Policy().allow_unauthenticated_gateways
    assert (Policy().host_paths, Policy().egress.allowed_internal_hosts) == ((), ())
    text = '{"allowUnauthenticatedGateways": true, "egress": {"allowedHosts": ["api.deepseek.com"]}}'
    policy = settings_from_environment(WHOLE | {"TRADEWIND_POLICY": text}).platform.policy
    assert (policy.allow_unauthenticated_gateways, policy.egress.allowed_hosts) == (True, ("api.deepseek.com",))


def test_pull_secrets_are_read_once_each() -> None:
    platform = settings_from_environment(
        WHOLE | {"TRADEWIND_PULL_SECRETS_GATEWAY": "acr, b.c,acr", "TRADEWIND_PULL_POLICY": "Always"}
    ).platform
    assert platform.gateway_pull_secrets == ("acr", "b.c")
    assert platform.trainer_pull_secrets == platform.predictor_pull_secrets == ()
    assert platform.pull_policy == "Always"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("TRADEWIND_PULL_SECRETS_TRAINER", "a_b", "TRADEWIND_PULL_SECRETS_TRAINER: 'a_b' is not the name of a Secret"),
        ("TRADEWIND_POLICY", "{", "TRADEWIND_POLICY: Invalid JSON"),
        ("TRADEWIND_POLICY", '{"hostPath": []}', "TRADEWIND_POLICY of hostPath: Extra inputs"),
        (
            "TRADEWIND_POLICY",
            '{"hostPaths": [{"prefix": "/"}]}',
            "TRADEWIND_POLICY of hostPaths.0.prefix: .*absolute path below /",
        ),
        (
            "TRADEWIND_POLICY",
            '{"egress": {"allowedInternalHosts": ["*"]}}',
            "egress.allowedInternalHosts.0: .*names no host inside",
        ),
        ("TRADEWIND_PULL_POLICY", "never", "TRADEWIND_PULL_POLICY must be one of Always, IfNotPresent, Never"),
    ],
)
def test_what_no_pod_could_name_is_refused(name: str, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        settings_from_environment(WHOLE | {name: text})


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_missing_setting_is_named_with_its_remedy(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name} is not set.*Helm chart"):
        settings_from_environment({k: v for k, v in WHOLE.items() if k != name})


@pytest.mark.parametrize("text", ["many", "0", "-1", "1.5"])
def test_a_malformed_number_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=f"TRADEWIND_WORKERS must be a whole number above 0, got '{text}'"):
        settings_from_environment(WHOLE | {"TRADEWIND_WORKERS": text})
