"""The board's computer under Linux: identity memory, network, clock, memories, sensor, watchdog (L5).

Theory of operation. Device files and sysfs only; `iperf3` makes the traffic, because a program that is proven on both sides is worth more
than one of ours. Roots of sysfs and devices can be moved, so that the paths are tested on files.
"""

from __future__ import annotations

import calendar
import json
import os
import random
import struct
import subprocess
import time
from fcntl import ioctl
from pathlib import Path

from firmware.factory.instruments import EthernetState
from firmware.hal.bus import Gpio

LINK_LIMIT_S = 10.0
RTC_RD_TIME, RTC_SET_TIME = 0x80247009, 0x4024700A  # linux/rtc.h
BLOCK = 1 << 20


class LinuxHost:
    """`Host` of a real board."""

    def __init__(self, eeprom: str, protect: Gpio | None = None, root: Path = Path("/")) -> None:
        self._eeprom = eeprom
        self._protect = protect
        self._root = root

    def _path(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def eeprom_read(self, size: int) -> bytes:
        """From its first byte."""
        with self._path(self._eeprom).open("rb") as file:
            return file.read(size)

    def eeprom_write(self, data: bytes) -> None:
        """From its first byte."""
        with self._path(self._eeprom).open("r+b", buffering=0) as file:
            file.write(data)
        time.sleep(0.02)

    def protect(self, on: bool) -> None:
        """The WP pin, where it is on a GPIO line."""
        if self._protect is not None:
            self._protect.write(on)

    def ethernet(self, device: str) -> EthernetState:
        """What sysfs says once there is a carrier."""
        folder = self._path(f"/sys/class/net/{device}")
        end = time.monotonic() + LINK_LIMIT_S
        while not self._carrier(folder) and time.monotonic() < end:
            time.sleep(0.1)
        if not self._carrier(folder):
            return EthernetState(0.0, False, self._word(folder / "address"))
        return EthernetState(float(self._word(folder / "speed")), self._word(folder / "duplex") == "full", self._word(folder / "address"))

    def _carrier(self, folder: Path) -> bool:
        try:
            return self._word(folder / "carrier") == "1"
        except OSError:  # the interface is down
            return False

    @staticmethod
    def _word(path: Path) -> str:
        return path.read_text("ascii", "replace").strip()

    def traffic(self, peer: str, megabytes: int) -> int:
        """UDP at 90 Mbit/s; packets that did not arrive."""
        command = ["iperf3", "-c", peer, "-u", "-b", "90M", "-n", f"{megabytes}M", "-J"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=60 + megabytes, check=False)
        except subprocess.TimeoutExpired as error:
            raise OSError(f"the traffic with {peer} did not end in {error.timeout} s") from error
        try:
            found = json.loads(done.stdout)
            return int(found["end"]["sum"]["lost_packets"])
        except (ValueError, KeyError, TypeError):
            raise OSError(f"the traffic with {peer} failed: {done.stdout[-200:]!r} {done.stderr[-200:]!r}") from None

    def rtc_set(self, device: str, seconds: float) -> None:
        """`RTC_SET_TIME`, UTC, at the beginning of a second."""
        time.sleep(max(0.0, int(seconds) + 1 - self.true_seconds()))
        moment = time.gmtime(int(seconds) + 1)
        time_of_day, date = (moment.tm_sec, moment.tm_min, moment.tm_hour), (moment.tm_mday, moment.tm_mon - 1, moment.tm_year - 1900)
        fields = struct.pack("9i", *time_of_day, *date, 0, 0, 0)
        with self._path(device).open("rb") as file:
            ioctl(file, RTC_SET_TIME, fields)

    def rtc_read(self, device: str) -> float:
        """`RTC_RD_TIME` just after its second changed."""
        with self._path(device).open("rb") as file:
            first = self._rtc(file.fileno())
            end = time.monotonic() + 1.5
            while (now := self._rtc(file.fileno())) == first and time.monotonic() < end:
                time.sleep(0.005)
        return now

    @staticmethod
    def _rtc(descriptor: int) -> float:
        raw = ioctl(descriptor, RTC_RD_TIME, bytes(36))
        second, minute, hour, day, month, year = struct.unpack("9i", raw)[:6]
        return float(calendar.timegm((year + 1900, month + 1, day, hour, minute, second, 0, 0, 0)))

    def rtc_battery_volts(self) -> float:
        """The board's divider on an ADC, as the device tree names it."""
        for folder in sorted(self._path("/sys/class/hwmon").glob("*")):
            for label in folder.glob("in*_label"):
                if self._word(label) == "rtc-battery":
                    return float(self._word(label.with_name(label.name.replace("_label", "_input")))) / 1000
        raise OSError("no sensor named rtc-battery in /sys/class/hwmon")

    def true_seconds(self) -> float:
        """The system's clock, which the fixture's network keeps (NTP)."""
        return time.time()

    def storage_faults(self, folder: str, megabytes: int) -> int:
        """Write, sync, drop from the cache, read back."""
        path = self._path(folder) / f".factory-{os.getpid()}"
        dice, wrong = random.Random(os.getpid()), 0
        blocks = [dice.randbytes(BLOCK) for _ in range(4)]
        try:
            with path.open("wb") as file:
                for number in range(megabytes):
                    file.write(blocks[number % 4])
                file.flush()
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with path.open("rb") as file:
                for number in range(megabytes):
                    back = file.read(BLOCK)
                    if back != blocks[number % 4]:
                        wrong += sum(a != b for a, b in zip(back, blocks[number % 4], strict=False)) + BLOCK - len(back)
        finally:
            path.unlink(missing_ok=True)
        return wrong

    def usb_sticks(self) -> int:
        """Block devices that hang on USB."""
        folder = self._path("/sys/block")
        return sum("/usb" in str((disk / "device").resolve()) for disk in folder.glob("sd*")) if folder.is_dir() else 0

    def celsius(self) -> float:
        """The first temperature sensor."""
        for path in sorted(self._path("/sys/class/hwmon").glob("*/temp1_input")):
            return float(self._word(path)) / 1000
        raise OSError("no temperature sensor in /sys/class/hwmon")

    def starve_watchdog(self, device: str) -> None:
        """Open it and leave it open: it starts, and nobody kicks it. The journal was written before."""
        os.sync()
        os.open(self._path(device), os.O_WRONLY)
