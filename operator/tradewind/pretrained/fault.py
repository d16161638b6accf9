"""Why a base, an adapter or a tokenizer is not taken."""

from tradewind.trading.exits import ExitCode


class UnfitError(Exception):
    """Something that is mounted cannot be used; `reason` is CamelCase, the message names the file and the remedy."""

    def __init__(self, code: ExitCode, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


def unfit_config(message: str) -> UnfitError:
    """Exit 64: another model or another setting is needed."""
    return UnfitError(ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG.reason, message)


def listed(names: set[str] | list[str], most: int = 6) -> str:
    """Names in words, cut to a few."""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
