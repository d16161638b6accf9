"""Settings: what is missing is named together with the remedy."""

import pytest

from tradewind.core.policy import Policy
from tradewind.shell.settings import SettingsError, settings_from_environment

WHOLE = {
    "TRADEWIND_NAMESPACE": "tradewind-system",
    "TRADEWIND_IMAGE_GATEWAY": "g:1",
    "TRADEWIND_IMAGE_PREDICTOR": "p:1",
    "TRADEWIND_IMAGE_TRAINER": "t:1",
}


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
