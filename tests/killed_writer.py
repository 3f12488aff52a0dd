"""Run by tests in a process of its own, to be killed with SIGKILL while it writes: python killed_writer.py URL FOLDER NAME

Four threads write events one by one and in lots of seven, rows of the audit and settings. After a write has returned, and not before, its name goes
to the standard output: what is read there was acknowledged.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from m6rec.serving.store.config import StoreConfig
from m6rec.serving.store.records import Event, Shown
from m6rec.serving.store.store import Store

LOT = 7


def acknowledge(name: str) -> None:
    os.write(1, f"{name}\n".encode())  # one call, one line, whatever the other threads do


def one_by_one(store: Store, name: str) -> None:
    number = 0
    while True:
        event = f"{name}-one-{number}"
        store.add_events([Event(name, f"i{number}", event_id=event)], key=event)
        acknowledge(event)
        number += 1


def in_lots(store: Store, name: str) -> None:
    number = 0
    while True:
        lot = f"{name}-lot-{number}"
        store.add_events([Event(lot, f"i{place}", event_id=f"{lot}-{place}") for place in range(LOT)], key=lot)
        acknowledge(lot)
        number += 1


def shown(store: Store, name: str) -> None:
    number = 0
    while True:
        request = f"{name}-shown-{number}"
        store.record_shown([Shown(request, name, f"i{place}", place, "v1") for place in range(1, LOT + 1)])
        acknowledge(request)
        number += 1


def main() -> None:
    url, folder, name = sys.argv[1:]
    store = Store.open(StoreConfig(url=url), Path(folder))
    for number, work in enumerate((one_by_one, one_by_one, in_lots, shown)):
        threading.Thread(target=work, args=(store, f"{name}{number}")).start()


if __name__ == "__main__":
    main()
