"""Where Comserv listens and how it is reached: loopback needs no certificate, anything else does, or a proxy that ends TLS."""

from comserv.listening.certificates import Certificate, Tls, certificate, look
from comserv.listening.hosts import KnownHosts
from comserv.listening.place import base_url, bind, check, is_loopback
from comserv.listening.protocol import BoundedHttp
from comserv.listening.proxy import behind_proxy

__all__ = [
    "BoundedHttp",
    "Certificate",
    "KnownHosts",
    "Tls",
    "base_url",
    "behind_proxy",
    "bind",
    "certificate",
    "check",
    "is_loopback",
    "look",
]
