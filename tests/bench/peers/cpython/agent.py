"""The benchmark's agent as one CPython process: streams N pieces, then in one durable transaction adds one to its
counter and stores message and reply. Speaks length-prefixed JSON over the Unix socket it is given."""

import json
import socket
import sqlite3
import sys

PIECE = "0123456789 "


def main() -> None:
    socket_path, database_path = sys.argv[1:3]
    database = sqlite3.connect(database_path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, count INTEGER NOT NULL)")
    database.execute("CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY, role TEXT NOT NULL, body TEXT NOT NULL)")
    database.execute("INSERT OR IGNORE INTO counter VALUES (1, 0)")
    host = socket.socket(socket.AF_UNIX)
    host.connect(socket_path)
    stream = host.makefile("rb")

    def send(value: dict) -> None:
        body = json.dumps(value, separators=(",", ":")).encode()
        host.sendall(len(body).to_bytes(4, "little") + body)

    while prefix := stream.read(4):
        message = json.loads(stream.read(int.from_bytes(prefix, "little")))
        reply = ""
        for _ in range(message["pieces"]):
            reply += PIECE
            send({"type": "chunk", "id": message["id"], "text": PIECE})
        store = "INSERT INTO messages (role, body) VALUES (?, ?)"
        database.execute("BEGIN IMMEDIATE")
        database.execute(store, ("user", json.dumps(message)))
        database.execute(store, ("assistant", reply))
        (count,) = database.execute("UPDATE counter SET count = count + 1 WHERE id = 1 RETURNING count").fetchone()
        database.execute("COMMIT")
        send({"type": "complete", "id": message["id"], "count": count})


main()
