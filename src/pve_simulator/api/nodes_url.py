"""`/nodes/{node}/query-url-metadata`: what a web server says of a file, truly asked, in the words of Perl's LWP."""

from __future__ import annotations

import asyncio
import ssl
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from typing import Any

from pve_simulator.call import Call, endpoint
from pve_simulator.errors import ApiError

TIMEOUT = 5  # true seconds


@endpoint("GET", "/nodes/{node}/query-url-metadata")
async def query_url(call: Call) -> dict[str, Any]:
    return await asyncio.to_thread(ask, call["url"], bool(call.get("verify-certificates", True)))


def ask(url: str, verify: bool) -> dict[str, Any]:
    """Size, type and name of what lies behind an address; raises ApiError 500."""
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the description lets only http and https pass
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with direct.open(request, timeout=TIMEOUT) as reply:
            return described(reply.url, reply.headers)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        raise ApiError(500, f"invalid server response: '{refusal.code} {refusal.reason}'") from None
    except (urllib.error.URLError, TimeoutError, OSError) as fault:
        where = urllib.parse.urlsplit(url)
        port = where.port or (443 if where.scheme == "https" else 80)
        told = f"500 Can't connect to {where.hostname}:{port} ({reason_of(fault)})"
        raise ApiError(500, f"invalid server response: '{told}'") from None


def reason_of(fault: OSError) -> str:
    """Why nobody answered."""
    reason = getattr(fault, "reason", fault)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return "certificate verify failed"
    return getattr(reason, "strerror", None) or str(reason)


def described(url: str, headers: Message) -> dict[str, Any]:
    """What a reply's headers say of the file."""
    told: dict[str, Any] = {"mimetype": headers.get_content_type()}
    if headers.get("Content-Length"):
        told["size"] = int(headers["Content-Length"])
    name = headers.get_filename() or urllib.parse.urlsplit(url).path.rpartition("/")[2]
    return {**told, "filename": name} if name else told
