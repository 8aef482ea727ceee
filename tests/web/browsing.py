"""A browser without script: sends forms, follows nothing by itself, keeps no cookie but the one it is given."""

import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from tests.web.services import CSRF, TOKEN


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    @property
    def words(self) -> str:
        """What a person reads, without markup and with single spaces."""
        return " ".join(re.sub(r"<[^>]+>", " ", self.text).split())


class Client:
    def __init__(self, port: int, cookie: str = TOKEN) -> None:
        self.port, self.cookie = port, cookie

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        own = {"cookie": f"comserv-{self.port}={self.cookie}"} if self.cookie else {}
        own |= {"content-type": "application/x-www-form-urlencoded"} if body else {}
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body or None, own)
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, told, response.read().decode())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, **headers)

    def post(self, path: str, fields: Mapping[str, object] | None = None, csrf: str = CSRF, **headers: str) -> Reply:
        return self.ask("POST", path, urlencode({"csrf": csrf, **(fields or {})}, doseq=True), **headers)
