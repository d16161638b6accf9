"""Names and paths that the parts of a gateway share."""

from tradewind.core.manifests.common import COMPONENT, OWNER_NAME

ARM_SECRETS = "/var/run/secrets/tradewind/arms"
AUTH_SECRET = "/var/run/secrets/tradewind/auth"  # noqa: S105 - a path
SPOOL = "/var/spool/tradewind"
HEALTH_PORT = 8081


def gateway_name(endpoint: str) -> str:
    """Name of the gateway's Deployment, Service and identity."""
    return f"{endpoint}-gateway"


def gateway_pods(endpoint: str) -> str:
    """Selects the gateway's pods."""
    return f"{COMPONENT}=gateway,{OWNER_NAME}={endpoint}"


def routing_name(endpoint: str) -> str:
    """Name of the ConfigMap with the routing document."""
    return f"{endpoint}-routing"


def shared_spool(endpoint: str) -> str:
    """Folder of one pod for one Endpoint, on a volume that pods share. Not a subPath: another pod must find what it leaves."""
    return f"{SPOOL}/{endpoint}/$(TRADEWIND_REPLICA)"
