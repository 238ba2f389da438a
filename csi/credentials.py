"""As whom a volume is read: a secret of the pod's, the token of its service account, or the node.

Values that are passed on as they came are never shown; what tells two identities apart is a digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets as random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from csi import words
from csi.attributes import KUBELETS
from csi.config import DriverConfig
from csi.errors import InvalidArgumentError, UnauthenticatedError
from csi.volume import NOBODY, PublishCall

TOKENS = f"{KUBELETS}serviceAccount.tokens"
AWS_AUDIENCE = "sts.amazonaws.com"
NODE = "node"
ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL_S3"
VARIABLES = {
    "accessKeyId": "AWS_ACCESS_KEY_ID",
    "secretAccessKey": "AWS_SECRET_ACCESS_KEY",
    "sessionToken": "AWS_SESSION_TOKEN",
    "endpoint": ENDPOINT_VARIABLE,
    "region": "AWS_REGION",
    "AWS_ENDPOINT_URL": ENDPOINT_VARIABLE,
    "AWS_DEFAULT_REGION": "AWS_REGION",
}
"""Key of a secret → the variable that it stands for; those variables are taken as well."""
SPELLINGS = {**VARIABLES, **{name: name for name in VARIABLES.values()}}
KEY_FILE = "identity.key"
KEY_SIZE = 32
MOST_SESSION_NAME = 64


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks. `environment` is None for the node itself.

    `identity` tells whose mounts may be shared; `digest` changes whenever the credentials do.
    """

    identity: str
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    digest: str = ""

    @property
    def endpoint(self) -> str | None:
        """Where they say that object storage is."""
        return (self.environment or {}).get(ENDPOINT_VARIABLE)


def credentials_of(
    call: PublishCall, config: DriverConfig, key: bytes, now: datetime | None = None
) -> Credentials:
    """Return the credentials that a call brings, else the node's.

    Raises InvalidArgumentError for a secret that makes no sense, and UnauthenticatedError where
    something is missing or has expired. *key* keeps digests from being guessed.
    """
    secret = {name: word for name, word in call.secrets.items() if not name.startswith(KUBELETS)}
    if call.attributes.role_arn is not None:
        if secret:
            raise InvalidArgumentError(
                "volume attribute 'roleArn' and nodePublishSecretRef exclude each other; drop one"
            )
        return _of_token(call, config, key, now or datetime.now(UTC))
    if secret:
        return _of_secret(secret, key)
    if not config.node_identity_allowed:
        raise UnauthenticatedError(
            f"{call.attributes.dataset}: no credentials were given and pods may not read as the "
            "node; set nodePublishSecretRef, or roleArn"
        )
    return Credentials(NODE)


def identity_key(run_directory: Path) -> bytes:
    """Return the random key of this node's digests, made when there is none; root's alone."""
    path = run_directory / KEY_FILE
    if not path.exists():
        draft = run_directory / f".{KEY_FILE}"
        draft.unlink(missing_ok=True)
        opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(opened, "wb") as file:
            file.write(random.token_bytes(KEY_SIZE))
        draft.replace(path)
    return path.read_bytes()


def _of_secret(secret: Mapping[str, str], key: bytes) -> Credentials:
    for name in sorted(secret.keys() - SPELLINGS.keys()):
        raise InvalidArgumentError(
            f"the secret's key {name[:80]!r} is not known; known are {', '.join(sorted(SPELLINGS))}"
        )
    environment = {SPELLINGS[name]: word for name, word in secret.items() if word}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if name not in environment:
            raise UnauthenticatedError(f"the volume's secret has no {name}; add it")
    if ENDPOINT_VARIABLE in environment:
        environment[ENDPOINT_VARIABLE] = _plain_endpoint(environment[ENDPOINT_VARIABLE])
    digest = _digest(environment, key)
    return Credentials(f"secret:{digest}", environment, digest)


def _plain_endpoint(word: str) -> str:
    try:
        return words.ENDPOINT.parse(word)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"the endpoint in the volume's secret: {error}") from None


def _of_token(call: PublishCall, config: DriverConfig, key: bytes, now: datetime) -> Credentials:
    """Return a role and the token that proves who may take it.

    Where nobody vouches for the names in the call, the token itself is the identity.
    """
    token = _token(call, config, now)
    pod, attributes = call.pod, call.attributes
    environment = {
        "AWS_ROLE_ARN": attributes.role_arn or "",
        "HEADRACE_WEB_IDENTITY_TOKEN": token,
    }
    if attributes.region is not None:
        environment["AWS_REGION"] = attributes.region
    if config.sts_endpoint is not None:
        environment["AWS_ENDPOINT_URL_STS"] = config.sts_endpoint
    if pod == NOBODY:
        digest = _digest(environment, key)
        return Credentials(f"token:{digest}", environment, digest)
    session = f"{pod.namespace}.{pod.service_account}"
    environment["AWS_ROLE_SESSION_NAME"] = session[:MOST_SESSION_NAME]
    identity = f"sa:{pod.namespace}/{pod.service_account}/{attributes.role_arn}"
    return Credentials(identity, environment, _digest(environment, key))


def _token(call: PublishCall, config: DriverConfig, now: datetime) -> str:
    """Return the pod's token for the audience that was agreed on."""
    tokens = _tokens(call, config)
    audience = config.token_audience or (AWS_AUDIENCE if len(tokens) != 1 else next(iter(tokens)))
    match tokens.get(audience):
        case {"token": str(token), **rest} if token:
            _check_lifetime(rest.get("expirationTimestamp"), now)
            return token
        case _:
            raise UnauthenticatedError(
                f"roleArn needs a service account token for the audience {audience!r}, and none "
                "came; set tokenRequests of the CSIDriver"
            )


def _tokens(call: PublishCall, config: DriverConfig) -> Mapping[str, Any]:
    """Return the tokens that came, by audience; from the context only if they can be trusted."""
    text = call.secrets.get(TOKENS)
    if text is None and config.tokens_from_context:
        text = call.context.get(TOKENS)
    try:
        tokens = json.loads(text or "{}")
    except ValueError:
        tokens = None
    if not isinstance(tokens, dict):
        raise UnauthenticatedError("the service account tokens cannot be read; is kubelet healthy?")
    return tokens


def _check_lifetime(expires: object, now: datetime) -> None:
    """Refuse a token that has expired; one without an end is for its reader to judge."""
    try:
        end = datetime.fromisoformat(expires) if isinstance(expires, str) else None
    except ValueError:
        end = None
    if end is not None and end <= now:
        raise UnauthenticatedError(f"the service account token expired at {end:%Y-%m-%d %H:%M:%SZ}")


def _digest(environment: Mapping[str, str], key: bytes) -> str:
    text = json.dumps(dict(environment), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16, key=key).hexdigest()
