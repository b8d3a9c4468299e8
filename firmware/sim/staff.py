"""Simulated staff of `sim run`: people at the analog phones, logged in as agents, so that the first call finds somebody.

Theory of operation. Somebody sits at every analog phone and answers when it rings. Agents but the first are logged in there, from the
last phone backwards (the first agent and the first phone are left to the visitor). As soon as a real agent is logged in on a telephone
that can ring, the staff logs out, so that the call goes to the person who came to try; when the last real one leaves, it comes back.
Only commands that an operator may give are used.
Invariant: nobody but the agents of this staff is ever logged out.
"""

from __future__ import annotations

from typing import Any

from firmware.sim.client import ClientError, ProductClient, WorldClient

Row = dict[str, Any]
ANSWER_S, TALK_S = 4, 25


class Staff:
    """One branch's simulated staff; `look` is called after each refresh of the tables."""

    def __init__(self, *, wanted: bool = True) -> None:
        self.wanted = wanted
        self.seats: dict[str, int] = {}
        self.posts: dict[str, str] = {}
        self.on_duty = False
        self.relieved = False
        self.names: list[str] = []

    def look(self, product: ProductClient, world: WorldClient, tables: dict[str, list[Row]]) -> None:
        """Take the seats, log in or out, as who is there asks for."""
        if not self.wanted:
            return
        if not self.seats:
            self._sit(world, tables)
        real = self._real(tables)
        self.relieved = bool(real)
        if real and self.on_duty:
            self._log_out(product, tables)
        elif not real and not self.on_duty:
            self._log_in(product, tables)

    def dismiss(self, product: ProductClient | None, world: WorldClient | None, tables: dict[str, list[Row]]) -> None:
        """Everybody logs out and leaves."""
        if product is not None and self.on_duty:
            self._log_out(product, tables)
        if world is not None:
            for jack in self.seats.values():
                world.ask("phone", phone=jack, action="leave")
        self.seats, self.posts, self.on_duty = {}, {}, False

    def _sit(self, world: WorldClient, tables: dict[str, list[Row]]) -> None:
        phones = [row for row in tables.get("phones", []) if row.get("kind") == "fxs" and str(row.get("where", "")).startswith("jack ")]
        for row in phones:
            jack = str(row["where"]).removeprefix("jack ")
            if jack.isdigit():
                self.seats[str(row["extension"])] = int(jack)
        for jack_number in self.seats.values():
            world.ask("phone", phone=jack_number, action="answer", after=ANSWER_S, talk=TALK_S, times=0, say="speech:20")
        agents = [str(row["agent"]) for row in tables.get("agents", [])]
        pairs = list(zip(reversed(agents[1:] or agents), reversed(list(self.seats)[1:] or list(self.seats)), strict=False))
        self.posts = dict(reversed(pairs))
        self.names = list(self.posts)

    def _real(self, tables: dict[str, list[Row]]) -> list[str]:
        """Agents who are logged in where a call can reach them and who are none of ours."""
        silent = {str(row["extension"]) for row in tables.get("phones", []) if row.get("state") in ("unregistered", "fault")}
        return [
            str(row["agent"])
            for row in tables.get("agents", [])
            if row.get("state") != "logged-out"
            and self.posts.get(str(row["agent"])) != str(row.get("extension"))
            and str(row.get("extension")) not in silent
        ]

    def _log_in(self, product: ProductClient, tables: dict[str, list[Row]]) -> None:
        self.on_duty = True
        there = {str(row["agent"]): str(row.get("extension") or "") for row in tables.get("agents", [])}
        for agent, extension in self.posts.items():
            if not there.get(agent):
                self._tell(product, "agent login", agent=agent, extension=extension)

    def _log_out(self, product: ProductClient, tables: dict[str, list[Row]]) -> None:
        self.on_duty = False
        there = {str(row["agent"]): str(row.get("extension") or "") for row in tables.get("agents", [])}
        for agent, extension in self.posts.items():
            if there.get(agent) == extension:
                self._tell(product, "agent logout", agent=agent)

    @staticmethod
    def _tell(product: ProductClient, command: str, **args: str) -> None:
        try:
            product.ask(command, **args)
        except ClientError as error:
            if "refused" not in str(error):
                raise
