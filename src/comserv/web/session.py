"""Who looks at a page: the session's cookie, and the token that every form of a session carries."""

import hmac
from dataclasses import dataclass

from fastapi import Request, Response
from starlette.datastructures import FormData

from comserv.domain.errors import Forbidden
from comserv.services.sessions import SignedIn, Visitor

FIELD = "csrf"
KEPT = 400 * 24 * 3600  # s; the server decides when a session is over, this only says that it outlives the browser


@dataclass(frozen=True)
class Cookies:
    """Over HTTPS the name begins with `__Host-`, so that no other host can set it; over plain HTTP (loopback) browsers
    refuse that, and the port keeps two Comservs on one machine apart."""

    secure: bool = False
    port: int | None = None

    @property
    def name(self) -> str:
        if self.secure:
            return "__Host-comserv"
        return f"comserv-{self.port}" if self.port else "comserv"

    def read(self, request: Request) -> str:
        return request.cookies.get(self.name, "")

    def give(self, response: Response, signed_in: SignedIn) -> Response:
        response.set_cookie(
            self.name, signed_in.token, max_age=KEPT, path="/", secure=self.secure, httponly=True, samesite="lax"
        )
        return response

    def take(self, response: Response) -> Response:
        response.delete_cookie(self.name, path="/", secure=self.secure, httponly=True, samesite="lax")
        return response


def check_form(form: FormData, visitor: Visitor) -> None:
    """Raises Forbidden when the form does not carry this session's token."""
    given = form.get(FIELD)
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), visitor.csrf.encode()):
        raise Forbidden(
            "The form belongs to another session or is too old; nothing was changed.",
            cure="Load the page again, then repeat what you did.",
        )
