"""As whom a process asks object storage: one mount's user, and nobody else.

To be taken on in a process that serves that mount alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from cachesvc.ambient import NO_AMBIENT_CREDENTIALS, credentials_in

TOKEN_VARIABLE = "HEADRACE_WEB_IDENTITY_TOKEN"
"""A web identity token itself, where AWS_WEB_IDENTITY_TOKEN_FILE names a file with one."""
TOKEN_FILE_VARIABLE = "AWS_WEB_IDENTITY_TOKEN_FILE"


class Identity:
    """The credentials among this process's environment. One a process."""

    def __init__(self) -> None:
        """Leave the environment as it is."""
        self._token: int | None = None

    def assume(self, environment: Mapping[str, str]) -> None:
        """Ask with *environment* from now on, and with nothing that was there before."""
        variables = dict(environment)
        token = variables.pop(TOKEN_VARIABLE, None)
        if token is not None:
            variables[TOKEN_FILE_VARIABLE] = self._kept(token)
        for name in credentials_in(os.environ).keys() - variables.keys():
            del os.environ[name]
        os.environ.update(variables)

    def _kept(self, token: str) -> str:
        """Return the path of a file in memory, for this process alone, that holds *token*."""
        fresh = os.memfd_create("token")
        os.write(fresh, token.encode())
        if self._token is None:
            self._token = fresh
        else:
            # Whoever reads the old one at this moment has opened it for itself.
            os.dup2(fresh, self._token, inheritable=False)
            os.close(fresh)
        return f"/proc/self/fd/{self._token}"


def tenant_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return *given* and what keeps the node's own credentials from being found beside it."""
    return {**NO_AMBIENT_CREDENTIALS, **given}


def own_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the node's own credentials, as this process was given them."""
    return credentials_in(environ)
