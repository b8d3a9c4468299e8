"""The whole configuration of one appliance."""

from typing import Annotated

from msgspec import field

from firmware.config.schema.acd import Acd
from firmware.config.schema.base import Entry, about
from firmware.config.schema.calendar import Calendar, Holiday, OpeningHours
from firmware.config.schema.calls import InboundRoute, Menu, OutboundRoute, Queue
from firmware.config.schema.central import Central
from firmware.config.schema.dhcp import Dhcp
from firmware.config.schema.dialplan import Account, CallerClass
from firmware.config.schema.features import Features
from firmware.config.schema.host import Host
from firmware.config.schema.ivr import Lookup, Node
from firmware.config.schema.lab import Lab
from firmware.config.schema.networks import Network
from firmware.config.schema.pbx import Calling, Group, Page, Parking, Room, Speaker, WatchList
from firmware.config.schema.people import Agent, Extension
from firmware.config.schema.phones import Phone, Provisioning
from firmware.config.schema.ports import Ports
from firmware.config.schema.recording import Recording
from firmware.config.schema.reports import Reports
from firmware.config.schema.system import DayPart, Rtp, Sip, Site
from firmware.config.schema.tariffs import Tariff
from firmware.config.schema.trunks import Passage, Toll, Trunk
from firmware.config.schema.upkeep import Backup, Update
from firmware.config.schema.users import Approval, Console, Ssh, User
from firmware.config.schema.voicemail import Mailbox, MailServer, Studio, Voicemail

SCHEMA_VERSION = 1


class Config(Entry, frozen=True):
    """Root: one readable file."""

    schema: Annotated[int, about("Schema version", ge=1, apply="restart")] = SCHEMA_VERSION
    board: Annotated[str, about("Board name, a folder of board/", pattern=r"^[a-z0-9-]+$", apply="reboot")] = "world"
    site: Site = Site()
    sip: Sip = Sip()
    rtp: Rtp = Rtp()
    recording: Recording = Recording()
    reports: Reports = Reports()
    features: Features = Features()
    ports: Ports = Ports()
    lab: Lab = Lab()
    console: Console = Console()
    ssh: Ssh = Ssh()
    approval: Approval = Approval()
    users: Annotated[dict[str, User], about("People who may log in at the console, by log-in name", max_length=64, role="admin")] = {}
    host: Host = Host()
    networks: Annotated[dict[str, Network], about("Networks whose peers are told an address of their own, in order")] = {}
    extensions: Annotated[dict[str, Extension], about("Extensions by number")] = {}
    phones: Annotated[dict[str, Phone], about("Desk telephones by MAC address", max_length=500)] = {}
    provisioning: Provisioning = Provisioning()
    central: Central = Central()
    dhcp: Dhcp = Dhcp()
    backup: Backup = Backup()
    update: Update = Update()
    agents: Annotated[dict[str, Agent], about("Agents by agent number")] = {}
    trunks: Annotated[dict[str, Trunk], about("SIP trunks by name")] = {}
    passage: Annotated[
        dict[str, Passage],
        about("What may pass through a branch, by country (CN, US ...); what is not named is off", max_length=16, role="admin"),
    ] = {}
    toll: Toll = Toll()
    queues: Annotated[dict[str, Queue], about("Queues by name", role="supervisor")] = {}
    acd: Acd = Acd()
    calling: Calling = Calling()
    parking: Parking = Parking()
    groups: Annotated[dict[str, Group], about("Ring groups by name")] = {}
    rooms: Annotated[dict[str, Room], about("Conference rooms by name")] = {}
    pages: Annotated[dict[str, Page], about("Paging groups by name", max_length=20)] = {}
    speaker: Speaker = Speaker()
    lists: Annotated[dict[str, WatchList], about("Lists of lamps by name, each one address for telephones", max_length=64)] = {}
    speed_dials: Annotated[
        dict[str, Annotated[str, about("Number as a telephone dials it", pattern=r"^[0-9]{2,24}$")]],
        about("Speed dials of the site: two digits to a number; an extension's own come first", max_length=100),
    ] = {}
    menus: Annotated[dict[str, Menu], about("Menus by name", role="supervisor")] = {}
    ivr: Annotated[dict[str, Node], about("Further nodes of the call graph by name")] = {}
    lookup: Lookup = Lookup()
    mailboxes: Annotated[dict[str, Mailbox], about("Boxes for voice messages by name")] = {}
    voicemail: Voicemail = Voicemail()
    mail: MailServer = MailServer()
    studio: Studio = Studio()
    calendar: Calendar = Calendar()
    holidays: Annotated[
        dict[str, Holiday], about("Days of the branch's own by name, in order: the first that fits counts", role="supervisor")
    ] = {}
    hours: Annotated[dict[str, OpeningHours], about("Opening hours by name", role="supervisor")] = {}
    accounts: Annotated[dict[str, Account], about("Accounts for calls to outside by name", max_length=1000)] = {}
    tariffs: Annotated[dict[str, Tariff], about("Tariffs of calls to outside by name, for the reports", max_length=100)] = {}
    callers: Annotated[dict[str, CallerClass], about("Classes of callers by name, in order")] = {}
    inbound: Annotated[list[InboundRoute], about("Inbound routes in order")] = []
    outbound: Annotated[list[OutboundRoute], about("Outbound routes in order")] = []
    day_parts: Annotated[list[DayPart], about("Greetings by time of day, in order of start")] = field(
        default_factory=lambda: [
            DayPart(start="00:00", greeting="greet.morning"),
            DayPart(start="12:00", greeting="greet.afternoon"),
            DayPart(start="18:00", greeting="greet.evening"),
        ]
    )
    emergency_numbers: Annotated[list[str], about("Numbers added to the country's emergency numbers", apply="control")] = []
    emergency_services: Annotated[
        dict[str, str],
        about("Number by emergency service (sos, police, fire ...) that a telephone calls without a number, instead of the country's",
              apply="control", max_length=32),
    ] = {}
    emergency_callback_s: Annotated[
        int, about("A call from outside within this time after an emergency call rings that caller", unit="s", ge=60, le=86400)
    ] = 3600
