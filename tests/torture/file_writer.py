"""Does to a directory what applications do to files, and records it: writes through the page cache and through mappings,
truncations, holes, replacements by rename, and fsync.

Usage: file_writer.py DIRECTORY LOG FIRST_NUMBER SEED

Runs on a host of the lab until SIGTERM or until the host dies. Several threads, each with files of its own, so that what is
done to a file has an order. Lines of LOG, each appended as one write before the step is begun:
    W NUMBER FILE BLOCK    a block of file_history.make(NUMBER, FILE, BLOCK)     P NUMBER FILE BLOCK   a hole
    T NUMBER FILE BLOCKS   a new length                                          R NUMBER FILE BLOCKS  another file in its place
    F NUMBER FILE          fsync is called                                       G NUMBER FILE         it has returned
    E NUMBER TEXT          a step failed
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import signal
import sys
import threading

from file_history import BLOCK, BLOCKS, FILES, make

THREADS = 2
KEEP_SIZE, PUNCH_HOLE = 1, 2
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]


class Writer:
    def __init__(self, directory: str, log: str, first: int, seed: int) -> None:
        self.directory, self.next, self.seed = directory, first, seed
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.lock = threading.Lock()
        self.stop = threading.Event()

    def note(self, kind: str, number: int, *more: object) -> None:
        os.write(self.log, (" ".join(map(str, (kind, number, *more))) + "\n").encode())

    def number(self) -> int:
        with self.lock:
            self.next += 1
            return self.next - 1

    def path(self, file: int) -> str:
        return f"{self.directory}/f{file}"

    def sync(self, handle: int, number: int, file: int) -> None:
        self.note("F", number, file)
        os.fsync(handle)
        self.note("G", number, file)

    def replace(self, number: int, file: int, blocks: int) -> None:
        self.note("R", number, file, blocks)
        name = f"{self.path(file)}.new"
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            for block in range(blocks):
                os.pwrite(handle, make(number, file, block), block * BLOCK)
            os.fsync(handle)
            os.rename(name, self.path(file))
            directory = os.open(self.directory, os.O_RDONLY)
            try:
                self.sync(directory, number, file)
            finally:
                os.close(directory)
        finally:
            os.close(handle)

    def step(self, chance: random.Random, file: int) -> None:
        number = self.number()
        handle = os.open(self.path(file), os.O_RDWR)
        try:
            blocks = os.fstat(handle).st_size // BLOCK
            block = chance.randrange(BLOCKS)
            kind = chance.random()
            if kind < 0.55:
                self.note("W", number, file, block)
                os.pwrite(handle, make(number, file, block), block * BLOCK)
            elif kind < 0.75 and blocks > 0:
                block = chance.randrange(blocks)
                self.note("W", number, file, block)
                with mmap.mmap(handle, blocks * BLOCK) as mapping:
                    mapping[block * BLOCK:(block + 1) * BLOCK] = make(number, file, block)
            elif kind < 0.83:
                self.note("P", number, file, block)
                if LIBC.fallocate(handle, KEEP_SIZE | PUNCH_HOLE, block * BLOCK, BLOCK) != 0:
                    raise OSError(ctypes.get_errno(), "fallocate")
            elif kind < 0.88:
                self.note("T", number, file, block)
                os.ftruncate(handle, block * BLOCK)
            elif kind < 0.92:
                self.replace(number, file, chance.randrange(1, BLOCKS))
            else:
                self.sync(handle, number, file)
        finally:
            os.close(handle)

    def run(self, thread: int) -> None:
        chance = random.Random(self.seed * THREADS + thread)
        own = range(thread, FILES, THREADS)
        number = 0
        try:
            for file in own:
                if not os.path.exists(self.path(file)):
                    number = self.number()
                    self.replace(number, file, 1)
            while not self.stop.is_set():
                self.step(chance, chance.choice(own))
        except OSError as error:
            self.note("E", number, error)


def main() -> None:
    writer = Writer(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    signal.signal(signal.SIGTERM, lambda *_: writer.stop.set())
    threads = [threading.Thread(target=writer.run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
