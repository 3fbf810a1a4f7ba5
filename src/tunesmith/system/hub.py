"""Where the model hub is, and what its refusals mean. Knows neither data sets nor models.

The address is the environment's `HF_ENDPOINT` or the public one, never something that a person typed.
"""

from __future__ import annotations

import os

from tunesmith.system.secrets import HUB, mask

DEFAULT_ENDPOINT = "https://huggingface.co"


def hub_endpoint() -> str:
    """Return the address of the hub, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def read_refusal(error: Exception) -> tuple[str, str]:
    """Return what an error of huggingface_hub means, and its words in one line, without the token that this process sent.

    `gated` (consent is asked for), `unknown` (or private), `token_refused`, `forbidden`, `busy` (too many requests), `unreachable` (all
    else). https://huggingface.co/docs/huggingface_hub/package_reference/utilities#http-errors
    """
    from huggingface_hub import errors

    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    reason = mask(" ".join(str(cause).split()), os.environ.get(HUB, ""))[:200] or type(cause).__name__
    if isinstance(cause, errors.GatedRepoError):
        return "gated", reason
    if isinstance(cause, errors.RepositoryNotFoundError | errors.HFValidationError):
        return "unknown", reason
    status = cause.response.status_code if isinstance(cause, errors.HfHubHTTPError) else 0
    return {401: "token_refused", 403: "forbidden", 429: "busy"}.get(status, "unreachable"), reason
