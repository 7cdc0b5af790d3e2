"""Writes numbered rows into PostgreSQL and records each acknowledgement: the client of the demo and the tests.

Usage: writer.py HOST PORT FILE [PAUSE_MS]
FILE gets a line "N MONOTONIC_NS" for every row whose commit was acknowledged, and nothing else. It goes on through
outages, trying the same row again until it is acknowledged, and ends on SIGTERM.
"""

from __future__ import annotations

import signal
import socket
import sys
import time

import psycopg2

ATTEMPT = 0.1  # seconds for one attempt to reach the server while it is away


def connect(host: str, port: int) -> psycopg2.extensions.connection | None:
    """A connection, or None when the server is not there now."""
    try:
        # libpq waits for whole seconds; a plain connection tells sooner that somebody listens.
        socket.create_connection((host, port), timeout=ATTEMPT).close()
        # A server that dies after it took a statement and before it answered is silent: only keep-alives find that.
        connection = psycopg2.connect(host=host, port=port, user="postgres", dbname="postgres", connect_timeout=2,
                                      tcp_user_timeout=400, keepalives_idle=1, keepalives_interval=1, keepalives_count=2,
                                      options="-c statement_timeout=5000")
    except (OSError, psycopg2.Error):
        return None
    connection.autocommit = True
    return connection


def main() -> None:
    host, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    pause = float(sys.argv[4]) / 1000 if len(sys.argv) > 4 else 0.0
    stop = False

    def finish(*_: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGTERM, finish)
    connection = None
    number = 1
    with open(path, "a", encoding="ascii", buffering=1) as record:
        while not stop:
            if connection is None:
                connection = connect(host, port)
                if connection is None:
                    time.sleep(0.01)
                    continue
            try:
                with connection.cursor() as cursor:
                    cursor.execute("INSERT INTO rows (n) VALUES (%s) ON CONFLICT DO NOTHING", (number,))
            except psycopg2.Error:
                connection.close()
                connection = None
                continue
            record.write(f"{number} {time.monotonic_ns()}\n")
            number += 1
            if pause:
                time.sleep(pause)


if __name__ == "__main__":
    main()
