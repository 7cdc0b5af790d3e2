"""Writes self-describing blocks to a device and records what was asked and what was acknowledged.

Usage: block_writer.py DEVICE LOG BLOCKS FIRST_SEQUENCE SEED

Runs on a host of the lab until SIGTERM or until the host dies. Several threads, each with blocks of its own, so that the
writes of one block have an order; now and then a flush. Lines of LOG, each appended as one write:
    W SEQUENCE BLOCK   before a write is submitted          F NUMBER   before a flush
    A SEQUENCE         after it was acknowledged            G NUMBER   after it was acknowledged
    E SEQUENCE TEXT    it failed
So "A 7" above "W 9" says that write 7 was acknowledged before write 9 was submitted.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import sys
import threading

from block_history import BLOCK, make_block

THREADS = 4
FLUSH_EVERY = 40  # writes of a thread, on average
HOT = 16  # blocks of a thread that get half of its writes


class Writer:
    def __init__(self, device: str, log: str, blocks: int, first: int, seed: int) -> None:
        self.device = os.open(device, os.O_RDWR | os.O_DIRECT)
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.blocks, self.next, self.seed = blocks, first, seed
        self.lock = threading.Lock()
        self.stop = threading.Event()

    def note(self, line: str) -> None:
        os.write(self.log, (line + "\n").encode())

    def number(self) -> int:
        with self.lock:
            self.next += 1
            return self.next - 1

    def run(self, thread: int) -> None:
        chance = random.Random(self.seed * THREADS + thread)
        own = range(thread, self.blocks, THREADS)
        buffer = mmap.mmap(-1, BLOCK)  # O_DIRECT wants whole pages
        while not self.stop.is_set():
            number = self.number()
            try:
                if chance.random() < 1 / FLUSH_EVERY:
                    self.note(f"F {number}")
                    os.fdatasync(self.device)
                    self.note(f"G {number}")
                    continue
                block = own[chance.randrange(HOT if chance.random() < 0.5 else len(own))]
                buffer[:] = make_block(number, block)
                self.note(f"W {number} {block}")
                if os.pwrite(self.device, buffer, block * BLOCK) != BLOCK:
                    raise OSError("short write")
                self.note(f"A {number}")
            except OSError as error:
                self.note(f"E {number} {error}")
                return


def main() -> None:
    device, log, blocks, first, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    writer = Writer(device, log, blocks, first, seed)
    signal.signal(signal.SIGTERM, lambda *_: writer.stop.set())
    threads = [threading.Thread(target=writer.run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
