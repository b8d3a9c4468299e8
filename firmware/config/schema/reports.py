"""What reports count, and with what seats are planned."""

from typing import Annotated, Literal

from msgspec import Meta, field

from firmware.config.schema.base import Entry, about


class Reports(Entry, frozen=True):
    """Limits of the metrics; each report prints its definitions with them."""

    service_level_s: Annotated[int, about("Service level: answered within this time", unit="s", ge=1, le=600)] = 20
    service_target: Annotated[int, about("Service level that is aimed at", unit="%", ge=1, le=100)] = 80
    short_abandon_s: Annotated[
        int,
        about("Who gives up before this is a short abandon, reported apart and not counted in the service level", unit="s", ge=0, le=60),
    ] = 5
    rings: Annotated[int, about("Calls should be answered within so many rings", ge=1, le=10)] = 3
    occupancy: Annotated[int, about("Agents should not be busier than this; seats are planned with it", unit="%", ge=50, le=100)] = 85
    shrinkage: Annotated[int, about("Paid time in which nobody answers: breaks, training, illness", unit="%", ge=0, le=70)] = 30
    mail: Annotated[
        list[Annotated[str, Meta(pattern=r"^[^\s@<>\"]+@[A-Za-z0-9.-]+$", max_length=120)]],
        about("Mail addresses that get the reports, as text and CSV; empty: nobody", max_length=10),
    ] = []
    mail_at: Annotated[str, about("Time of day at which they are mailed", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "06:30"
    mail_kinds: Annotated[
        list[Literal["day", "month", "year"]],
        about("Which are mailed: of the day before, on the first of a month of the last one, on the first of January of the last year"),
    ] = field(default_factory=lambda: ["day", "month", "year"])
    people: Annotated[
        Literal["auto", "yes", "no"],
        about("Figures of single agents in reports; auto: not where the country's law asks for the works council first (DE, FR)"),
    ] = "auto"
