"""`/servers/{server_id}`: its certificates, the addresses and the CA that its cluster offers, and another token."""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from comserv.api.replies import answers, reply
from comserv.api.route import Given, Route, ServerId, Who
from comserv.api.serverbody import SECRET_EXAMPLE, Address, Faults, Pasted
from comserv.api.shapes.server import Server
from comserv.api.shapes.trust import Certificates, Offers, ReplacedToken
from comserv.domain.person import Action
from comserv.domain.server import parse_address, parse_fingerprint

router = APIRouter(prefix="/servers/{server_id}", tags=["servers"], route_class=Route)
Pin = Annotated[str, Field(max_length=200, examples=[":".join(["AB"] * 32)])]


class Pins(BaseModel):
    """Fingerprints by address, as they were shown."""

    model_config = ConfigDict(extra="forbid")

    fingerprints: Annotated[dict[Address, Pin], Field(min_length=1, max_length=32)]

    def parsed(self) -> dict[str, str]:
        """Raises Invalid."""
        faults, pins = Faults(), dict[str, str]()
        for address, text in self.fingerprints.items():
            where = faults.read(parse_address, address, "fingerprints")
            pin = faults.read(parse_fingerprint, text, "fingerprints")
            if where and pin:
                pins[where] = pin
        faults.settle()
        return pins


class CaPin(BaseModel):
    model_config = ConfigDict(extra="forbid")

    fingerprint: Pin = Field(description="SHA-256 of the CA's certificate, as it was shown.")


class NewToken(BaseModel):
    """Another token, as for a new server."""

    model_config = ConfigDict(extra="forbid")

    token_id: Pasted = Field(examples=["comserv@pve!manager-2"])
    token_secret: Pasted = Field(default="", examples=[SECRET_EXAMPLE], json_schema_extra={"writeOnly": True})
    fewer_rights: bool = Field(default=False, description="Take it though it may do less than the one in use.")


@router.get("/certificates", **answers(Certificates, 404, needs=Action.MANAGE_SERVERS))
async def review_certificates(who: Who, services: Given, server_id: ServerId) -> Response:
    """What every address shows now, beside what was agreed; a changed one with the old one beside it."""
    return reply(Certificates.of(await services.server_addresses.certificates(who, server_id)))


@router.post("/certificates", **answers(Server, 404, 409, 422, needs=Action.MANAGE_SERVERS))
async def accept_certificates(who: Who, services: Given, server_id: ServerId, accepted: Pins) -> Response:
    """Accepts changed certificates. 409 where an address shows another one meanwhile: nothing is accepted then."""
    return reply(Server.of(await services.server_addresses.accept(who, server_id, accepted.parsed())))


@router.get("/offers", **answers(Offers, 404, 409, needs=Action.MANAGE_SERVERS))
async def offers_of_cluster(who: Who, services: Given, server_id: ServerId) -> Response:
    """The other nodes of its cluster as further addresses, and the cluster's own CA."""
    return reply(Offers.of(await services.server_addresses.offers(who, server_id)))


@router.post("/addresses", **answers(Server, 404, 409, 422, needs=Action.MANAGE_SERVERS))
async def take_addresses(who: Who, services: Given, server_id: ServerId, taken: Pins) -> Response:
    """Adds addresses that the cluster offers, each with the certificate that was shown."""
    return reply(Server.of(await services.server_addresses.take(who, server_id, taken.parsed())))


@router.post("/ca", **answers(Server, 404, 409, 422, needs=Action.MANAGE_SERVERS))
async def trust_ca(who: Who, services: Given, server_id: ServerId, ca: CaPin) -> Response:
    """Trusts the cluster's own CA instead of single certificates, where it signed those of all addresses."""
    faults = Faults()
    pin = faults.read(parse_fingerprint, ca.fingerprint, "fingerprint")
    faults.settle()
    return reply(Server.of(await services.server_addresses.trust_ca(who, server_id, pin or "")))


@router.post("/token", **answers(ReplacedToken, 404, 409, 422, needs=Action.MANAGE_SERVERS))
async def replace_token(who: Who, services: Given, server_id: ServerId, token: NewToken) -> Response:
    """Another token: tested and compared before the one in use is let go; what runs takes it from its next call on."""
    faults = Faults()
    token_id, value = faults.read_token(token.token_id, token.token_secret)
    faults.settle()
    assert token_id is not None  # noqa: S101 - settle() said so
    done = await services.server_token.replace(who, server_id, token_id, value, fewer_rights=token.fewer_rights)
    return reply(ReplacedToken.of(done))
