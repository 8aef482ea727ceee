"""What keeps a server from being reached, in words: the name, the port, TLS, and what answers instead of a Proxmox VE."""

import re
from dataclasses import replace
from enum import StrEnum
from urllib.parse import urlsplit

from comserv.domain.errors import ProxmoxError, ProxmoxSaid
from comserv.domain.server import DEFAULT_PORT, TlsMode
from comserv.domain.verdicts import Verdict, failed


class Unreached(StrEnum):
    """Why a name, a port or a handshake failed."""

    NAME_UNKNOWN = "name_unknown"
    NAME_SERVER_SILENT = "name_server_silent"
    REFUSED = "refused"
    NO_ROUTE = "no_route"
    SILENT = "silent"
    CLOSED = "closed"
    NO_TLS = "no_tls"
    TLS_TOO_OLD = "tls_too_old"
    OTHER = "other"


class Untrusted(StrEnum):
    """Why a certificate is not verified."""

    SELF_SIGNED = "self_signed"
    UNKNOWN_CA = "unknown_ca"
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    WRONG_NAME = "wrong_name"
    OTHER = "other"


def judge_name(host: str, why: Unreached, detail: str) -> Verdict:
    if why is Unreached.NAME_UNKNOWN:
        return failed(
            f"{host} has no address: no such name is known.",
            "Check its spelling, or give the IP address instead; this machine asks the name servers in /etc/resolv.conf.",
        )
    if why in (Unreached.NAME_SERVER_SILENT, Unreached.SILENT):
        told = failed(
            f"{host} has no address: the name server does not answer.",
            "Check this machine's DNS (`resolvectl status`), or give the IP address instead.",
        )
        return replace(told, silent=True)
    return failed(f"{host} has no address: {detail}.", "Check its spelling, or give the IP address instead.")


def judge_port(host: str, port: int, why: Unreached, detail: str) -> Verdict:
    place = f"Port {port} of {host} cannot be reached"
    if why is Unreached.REFUSED:
        return failed(
            f"{place}: connection refused, nothing listens there.",
            f"Check the port, usually {DEFAULT_PORT}, and that pveproxy runs there: `systemctl status pveproxy`.",
        )
    if why is Unreached.NO_ROUTE:
        return failed(
            f"{place}: no way leads there from this machine.",
            "Check the address, and routes and VPN of this machine: `ip route get` with the address tells the way.",
        )
    if why is Unreached.SILENT:
        return failed(
            f"{place}: no answer in time. The host is off, or a firewall drops what we send.",
            f"Check that the host is up, and let port {port} through the firewalls between; Proxmox's own is under "
            "Datacenter, Firewall.",
        )
    return failed(f"{place}: {detail}.", "Check that the host is up, and firewalls between.")


def judge_handshake(address: str, why: Unreached, detail: str, plain: bytes = b"") -> Verdict:
    """plain: what answers there without TLS, where that was tried."""
    if plain:
        return judge_plain(address, plain)
    if why is Unreached.TLS_TOO_OLD:
        return failed(
            f"{address} offers no TLS that is still safe: 1.2 or newer is needed.",
            "Proxmox VE speaks TLS 1.2 and 1.3; look what stands between, or at TLS settings in /etc/default/pveproxy.",
        )
    if why is Unreached.SILENT:
        told = failed(
            f"{address} takes connections and begins no TLS: no answer in time.",
            "The host may hang or start just now: look at its console, and at `systemctl status pveproxy`.",
        )
        return replace(told, silent=True)
    if why is Unreached.CLOSED:
        return failed(
            f"{address} ends the connection when TLS begins.",
            "Something between may cut it off, or pveproxy does not allow this machine: ALLOW_FROM in /etc/default/pveproxy.",
        )
    return failed(
        f"no TLS with {address}: what answers there does not speak TLS ({detail}).",
        f"Check the port: Proxmox VE answers over https, usually on {DEFAULT_PORT}.",
    )


def judge_plain(address: str, plain: bytes) -> Verdict:
    """What speaks without TLS at a port where https was expected."""
    text = plain[:2048].decode("latin-1")
    first = _printable(text.splitlines()[0] if text.splitlines() else "")
    usual = f"Give the port of Proxmox VE's own web page, usually {DEFAULT_PORT}."
    what = f"{address} does not speak TLS"
    if text.startswith("SSH-"):
        return failed(f"{what}: an SSH server answers there ({first}).", usual)
    if text.startswith("HTTP/"):
        place = re.search(r"^location:\s*(\S+)", text, re.I | re.M)
        if place:
            where = _printable(place[1])
            return failed(
                f"{what}: a plain web server answers there and sends on to {where}.",
                f"Give that address, if it is the Proxmox VE's: {_host_of(where) or where}. {usual}",
            )
        return failed(f"{what}: a plain web server answers there ({first}).", usual)
    if re.match(r"220[ -]", text):
        return failed(f"{what}: a mail or file server answers there ({first}).", usual)
    if text.startswith("RFB "):
        return failed(f"{what}: a VNC server answers there.", usual)
    return failed(f"{what}: something else answers there ({first}).", usual)


def cure_of(why: Untrusted, mode: TlsMode, host: str) -> str:
    """What helps where a certificate is not verified."""
    accept = "Accept its fingerprint after comparing it on the server, or give the cluster's own CA (/etc/pve/pve-root-ca.pem)."
    if why is Untrusted.EXPIRED:
        return (
            "Renew it on the node: `pvecm updatecerts --force` for its own, or order it anew through ACME. If it should "
            "still be valid, compare the clock here: `timedatectl`."
        )
    if why is Untrusted.NOT_YET:
        return "Compare the clocks of both machines: `timedatectl` here and there; one of them is wrong."
    if why is Untrusted.WRONG_NAME:
        return (
            f"Use an address that stands in the certificate, or accept its fingerprint: {host} is not among its names."
        )
    if mode is TlsMode.CA:
        return "It was signed by another CA than the one that was given: compare that with /etc/pve/pve-root-ca.pem."
    return accept


def judge_no_proxmox(why: str, said: ProxmoxSaid | None) -> Verdict:
    """An answer that no Proxmox VE gives. why: as the reply was read."""
    body = said.message if said else ""
    title = re.search(r"<title[^>]*>([^<]{1,80})", body, re.I)
    direct = (
        f"Give the address of the node itself, port {DEFAULT_PORT}, or let what stands between pass /api2/json through."
    )
    if why.startswith("it redirects"):
        return failed(
            f"It is no Proxmox VE that answers: {why}. Nothing was followed.",
            f"Give the address that it leads to, if that is the Proxmox VE. {direct}",
            said,
        )
    if "WWW-Authenticate" in why or re.search(r"type=[\"']?password|log ?in|sign ?in", body, re.I):
        name = f" ({_printable(title[1])})" if title else ""
        return failed(f"A sign-in page stands in front of it{name}, so the API is not reached.", direct, said)
    if said and said.status in (502, 503, 504):
        return failed(
            f"A proxy answers {said.status}: it does not reach the Proxmox VE behind it.",
            f"Look at that proxy, and whether pveproxy runs behind it. {direct}",
            said,
        )
    if body.lstrip()[:1] == "<":
        name = f" titled “{_printable(title[1])}”" if title else ""
        return failed(f"A web page{name} answers instead of the API.", direct, said)
    return failed(f"It does not answer as a Proxmox VE does: {why}.", direct, said)


def judge_error(error: ProxmoxError) -> Verdict:
    """A stage that the server refused or broke off, by what Proxmox's status means (semantics sections 1 and 3)."""
    said = error.proxmox
    status = said.status if said else 0
    words = _printable(said.message) if said else ""
    if status == 595:
        return failed(
            f"The node behind it cannot be reached from there: {words}.",
            "Look at that node and at the cluster's network: `pvecm status`.",
            said,
        )
    if 596 <= status <= 599:
        return failed(
            f"The node behind it was lost while it answered ({status} {words}).",
            "Look at that node: `systemctl status pvedaemon pveproxy`, then test again.",
            said,
        )
    if status == 501:
        return failed(
            "It does not know this call: its version may be too old, or something between changes what we send.",
            "Look at its version: `pveversion`; reach the node directly.",
            said,
        )
    if status == 500:
        return failed(
            f"Proxmox failed on its side: {words}",
            "Look at its log: `journalctl -u pvedaemon -u pveproxy -n 50`, then test again.",
            said,
        )
    if status == 503:
        return failed(
            "It has no time for us just now (503).",
            "Wait a moment and test again; `systemctl status pveproxy` tells whether it just starts.",
            said,
        )
    if said is None and error.facts.get("dropped"):
        return failed(
            "The connection was cut off before its answer was whole.",
            "Something between may break off, or pveproxy was restarted: test again, then look at `systemctl status pveproxy`.",
        )
    if said is None and isinstance(error.__cause__, TimeoutError):
        told = failed(
            "It took the request and did not answer in time.",
            "Its daemons may hang: `systemctl restart pvedaemon pveproxy`; storages that hang do that too: `pvesm status`.",
        )
        return replace(told, silent=True)
    return failed(f"{error.title} {error.detail}".strip(), error.cure, said)


def product_at(software: str, realms: frozenset[str], port: int) -> str:
    """Another product of Proxmox that answers there, or empty. software: the header Server; realms: of /access/domains."""
    if "pmg" in software.lower() or ("pmg" in realms and "pve" not in realms):
        return "a Proxmox Mail Gateway"
    if "proxmox-backup" in software.lower() or ("pbs" in realms and "pve" not in realms):
        return "a Proxmox Backup Server" + (" (port 8007 is its own)" if port == 8007 else "")
    if "pdm" in realms and "pve" not in realms:
        return "a Proxmox Datacenter Manager"
    return ""


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc if parts.scheme == "https" else ""


def _printable(text: str) -> str:
    """What somebody else's server says, fit for a sentence."""
    return re.sub(r"[^\x20-\x7e\xa0-\xff]+", " ", text).strip()[:160].rstrip(".")
