"""What a server is registered or edited with: the JSON body, made into parsed values."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from comserv.domain.errors import Invalid
from comserv.domain.gentleness import Gentleness
from comserv.domain.pastedtoken import read_token
from comserv.domain.server import (
    Tls,
    TlsMode,
    TokenId,
    parse_address,
    parse_fingerprint,
    parse_server_id,
    parse_token_secret,
)
from comserv.services.servers import NewServer, ServerEdit

ParsedT = TypeVar("ParsedT")
Short = Annotated[str, Field(max_length=253)]
Pasted = Annotated[str, Field(max_length=8192)]
Address = Annotated[str, Field(min_length=1, max_length=300, examples=["pve1.example.org"])]
SECRET_EXAMPLE = "5f0c9d2e-0c8e-4c0e-9b37-2b1e0c6a4c11"  # noqa: S105 - shown in the reference


class Faults:
    """Collects what several parsers find wrong, so that a person sees it all at once."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}

    def read(self, parse: Callable[[str], ParsedT], text: str, name: str) -> ParsedT | None:
        try:
            return parse(text)
        except Invalid as error:
            self.fields[name] = "; ".join(error.fields.values()) or error.detail
            return None

    def read_token(self, token_id: str, value: str, value_needed: bool = True) -> tuple[TokenId | None, str]:
        try:
            return read_token(token_id, value, value_needed=value_needed)
        except Invalid as error:
            self.fields.update(error.fields)
            return None, ""

    def settle(self) -> None:
        """Raises Invalid where anything was found."""
        if self.fields:
            raise Invalid(fields=self.fields)


class TlsBody(BaseModel):
    """How the certificate is verified; there is no "off"."""

    model_config = ConfigDict(extra="forbid")

    mode: TlsMode | None = Field(
        default=None, description="Left away: `fingerprint` or `ca` where one is given, else `system`."
    )
    fingerprint: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="SHA-256, that of the first address.", examples=[":".join(["AB"] * 32)]
    )
    fingerprints: dict[Address, Annotated[str, Field(max_length=200)]] | None = Field(
        default=None, description="SHA-256 by address: every node of a cluster has its own."
    )
    ca_pem: Annotated[str, Field(max_length=200_000)] | None = None

    def parsed(self, addresses: Sequence[str], faults: Faults) -> Tls:
        pins: dict[str, str] = {}
        for address, text in (self.fingerprints or {}).items():
            where = faults.read(parse_address, address, "tls.fingerprints")
            pin = faults.read(parse_fingerprint, text, "tls.fingerprints")
            if where and pin:
                pins[where] = pin
        if (
            self.fingerprint
            and (pin := faults.read(parse_fingerprint, self.fingerprint, "tls.fingerprint"))
            and addresses
        ):
            pins[addresses[0]] = pin
        mode = self.mode or self._guessed()
        if mode == TlsMode.FINGERPRINT and not (self.fingerprint or self.fingerprints):
            faults.fields["tls.fingerprint"] = "the mode fingerprint needs one"
        if mode == TlsMode.CA and not (self.ca_pem or "").strip():
            faults.fields["tls.ca_pem"] = "the mode ca needs the CA's certificate in PEM"
        return Tls(mode, (self.ca_pem or "").strip(), pins)

    def _guessed(self) -> TlsMode:
        if self.fingerprint or self.fingerprints:
            return TlsMode.FINGERPRINT
        return TlsMode.CA if self.ca_pem else TlsMode.SYSTEM


class LookAt(BaseModel):
    model_config = ConfigDict(extra="forbid")

    address: Address


class ServerBody(BaseModel):
    """A new server."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(max_length=64)] = Field(description="Stable, in addresses.", examples=["rack"])
    name: Short | None = Field(default=None, description="For people; left away: the id.", examples=["Rack in Fürth"])
    addresses: Annotated[list[Address], Field(min_length=1, max_length=32)] = Field(
        description="`host`, `host:port` or `https://host:port/api2/json`, in order of preference.",
        examples=[["pve1.example.org", "pve2.example.org"]],
    )
    token_id: Pasted = Field(
        description="`USER@REALM!TOKENID`; or all that `pveum user token add` printed, or a `PVEAPIToken=…` line.",
        examples=["comserv@pve!manager"],
    )
    token_secret: Pasted = Field(
        default="",
        description="The value that Proxmox shows once; encrypted, and never told again. May be left away where "
        "`token_id` holds both.",
        examples=[SECRET_EXAMPLE],
        json_schema_extra={"writeOnly": True},
    )
    tls: TlsBody | None = None
    default_node: Short | None = Field(default=None, examples=["pve1"])

    def parsed(self) -> NewServer:
        """Raises Invalid with every field that is wrong."""
        faults = Faults()
        server_id = faults.read(parse_server_id, self.id, "id")
        addresses = read_addresses(self.addresses, faults)
        token_id, secret = faults.read_token(self.token_id, self.token_secret)
        tls = (self.tls or TlsBody()).parsed(addresses, faults)
        faults.settle()
        assert server_id is not None and token_id is not None  # noqa: S101 - settle() said so
        name = (self.name or "").strip() or server_id
        return NewServer(server_id, name, addresses, token_id, secret, tls, (self.default_node or "").strip())


class MaintenanceBody(BaseModel):
    """Why nothing is to be sent to a server, and until when."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"why": "New disks"}]})

    why: Annotated[str, Field(max_length=1000)] = Field(default="", description="Shown to everyone.")
    until: datetime | None = Field(default=None, description="With its time zone; null: until it is ended.")


class ServerPatch(BaseModel):
    """What is left away or null stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "Rack in Fürth"}]})

    name: Short | None = None
    addresses: Annotated[list[Address], Field(min_length=1, max_length=32)] | None = None
    token_id: Pasted | None = Field(default=None, description="As for a new server.")
    token_secret: Pasted | None = Field(default=None, json_schema_extra={"writeOnly": True})
    tls: TlsBody | None = None
    default_node: Short | None = Field(default=None, description="Empty: none.")
    gentleness: Gentleness | None = Field(default=None, description="How hard it is asked.")
    enabled: bool | None = Field(default=None, description="False begins a maintenance without a reason, true ends it.")

    @property
    def needs_addresses(self) -> bool:
        """A fingerprint is that of the first address, so that has to be known."""
        return self.tls is not None and bool(self.tls.fingerprint) and self.addresses is None

    def parsed(self, known_addresses: Sequence[str]) -> ServerEdit:
        """known_addresses: those the server has now, where they are needed. Raises Invalid with every field that is wrong."""
        faults = Faults()
        addresses = read_addresses(self.addresses, faults) if self.addresses is not None else None
        token_id, secret = None, ""
        if self.token_id is not None:
            token_id, secret = faults.read_token(self.token_id, self.token_secret or "", value_needed=False)
        elif self.token_secret is not None:
            secret = faults.read(parse_token_secret, self.token_secret, "token_secret") or ""
        tls = self.tls.parsed(addresses or known_addresses, faults) if self.tls is not None else None
        faults.settle()
        name = self.name.strip() if self.name else None
        node = self.default_node.strip() if self.default_node is not None else None
        return ServerEdit(name, addresses, token_id, secret or None, tls, node)


def read_addresses(texts: Sequence[str], faults: Faults) -> tuple[str, ...]:
    """In their order, each once."""
    found = [faults.read(parse_address, text, "addresses") for text in texts]
    return tuple(dict.fromkeys(address for address in found if address))
