"""Which image runs what, and what authors of our objects may do. Read from the environment by the shell; builders receive it as a value."""

from dataclasses import dataclass, field

from tradewind.core.network import Network
from tradewind.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Platform:
    """What every manifest builder needs to know of this installation.

    Attributes:
        installation: first part of every SQL key.
        operator_namespace: where the progress Service lives.
        gateway_image, predictor_image, trainer_image: full references.
        vllm_image: of vLLM's server, for versions with `serving.runtime: huggingface`; empty: none are served.
        gateway_pull_secrets, predictor_pull_secrets, trainer_pull_secrets, vllm_pull_secrets: names of the Secrets that pods
            of these images name for their registry. The kubelet looks for them in the pod's own namespace; the operator never
            reads them.
        pull_policy: when the kubelet pulls these images.
        routing_keys: public keys by which the routing documents of this installation may be signed.
        policy: what authors may do.
        network: whether children get NetworkPolicies, and what they open.
    """

    installation: str
    operator_namespace: str
    gateway_image: str
    predictor_image: str
    trainer_image: str
    gateway_pull_secrets: tuple[str, ...] = ()
    predictor_pull_secrets: tuple[str, ...] = ()
    trainer_pull_secrets: tuple[str, ...] = ()
    vllm_image: str = ""
    vllm_pull_secrets: tuple[str, ...] = ()
    pull_policy: str = "IfNotPresent"
    routing_keys: tuple[str, ...] = ()
    progress_service: str = "tradewind-operator"
    progress_port: int = 8090
    policy: Policy = field(default_factory=Policy)
    network: Network = field(default_factory=Network)
