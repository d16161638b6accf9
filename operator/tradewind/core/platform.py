"""Which image runs what. Read from the environment by the shell; builders receive it as a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Platform:
    """What every manifest builder needs to know of this installation.

    Attributes:
        installation: first part of every SQL key.
        operator_namespace: where the progress Service lives.
        gateway_image, predictor_image, trainer_image: full references.
    """

    installation: str
    operator_namespace: str
    gateway_image: str
    predictor_image: str
    trainer_image: str
    progress_service: str = "tradewind-operator"
    progress_port: int = 8090
