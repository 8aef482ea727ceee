"""What stands on a console: a login, and a shell that knows a handful of commands. Shared by all who look at it."""

from __future__ import annotations

import asyncio

COLUMNS, ROWS = 80, 25
KEPT = 200  # lines that are remembered


class Shell:
    """A text console. `lines` is what stands there, the last one being written; `changed` tells of news."""

    def __init__(self, hostname: str, system: str, user: str = "") -> None:
        self.hostname = hostname
        self.system = system
        self.user = user
        self.started = 0.0  # when the guest's process began, to tell one from the next
        self.asking = "" if user else "login"
        self.typed = ""
        self.size: tuple[int, int] = (COLUMNS, ROWS)
        self.lines: list[str] = [""]
        self.revision = 0
        self.changed = asyncio.Event()
        self.ended = False
        self.say("" if user else f"{system} {hostname} tty1\r\n\r\n")
        self.say(self.prompt())

    def prompt(self) -> str:
        """What is asked for next."""
        asked = {"login": f"{self.hostname} login: ", "password": "Password: "}
        return asked.get(self.asking, f"{self.user}@{self.hostname}:~# ")

    def say(self, text: str) -> str:
        """Writes text, and gives it back for those who send it on."""
        for piece in text.replace("\r\n", "\n").split("\n")[:-1]:
            self.lines[-1] += piece
            self.lines.append("")
        self.lines[-1] += text.replace("\r\n", "\n").rpartition("\n")[2]
        del self.lines[:-KEPT]
        self.revision += 1
        self.changed.set()
        self.changed = asyncio.Event()
        return text

    def feed(self, text: str) -> str:
        """Takes what was typed, and gives what the console writes in return, echo included."""
        return "".join(self._key(letter) for letter in text)

    def _key(self, letter: str) -> str:
        if letter in "\r\n":
            return self.say("\r\n") + self._enter()
        if letter in "\b\x7f":
            if not self.typed:
                return ""
            self.typed = self.typed[:-1]
            if self.asking == "password":
                return ""
            self.lines[-1] = self.lines[-1][:-1]
            self.say("")
            return "\b \b"
        if letter == "\x03":
            self.typed = ""
            return self.say("^C\r\n" + self.prompt())
        if letter == "\x04":
            return "" if self.typed else self.say("\r\n") + self._run("exit")
        if not letter.isprintable():
            return ""
        self.typed += letter
        return "" if self.asking == "password" else self.say(letter)

    def _enter(self) -> str:
        typed, self.typed = self.typed.strip(), ""
        if self.asking == "login":
            self.user = typed or "root"
            self.asking = "password"
            return self.say(self.prompt())
        if self.asking == "password":  # any password is right: this is a stand-in
            self.asking = ""
            return self.say(f"Welcome to {self.system}!\r\n\r\n{self.prompt()}")
        return self._run(typed)

    def _run(self, command: str) -> str:
        word, _, rest = command.partition(" ")
        columns, rows = self.size
        if word in ("exit", "logout"):
            self.ended, self.asking, self.user = True, "login", ""
            return self.say(f"logout\r\n\r\n{self.prompt()}")
        said = {
            "": "",
            "echo": f"{rest}\r\n",
            "hostname": f"{self.hostname}\r\n",
            "whoami": f"{self.user}\r\n",
            "uname": "Linux\r\n",
            "pwd": "/root\r\n",
            "stty": f"{rows} {columns}\r\n" if rest == "size" else "",
        }
        return self.say(said.get(word, f"-bash: {word}: command not found\r\n") + self.prompt())
