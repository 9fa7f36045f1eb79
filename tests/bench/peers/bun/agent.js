// The benchmark's agent as one Bun process: streams N pieces, then in one durable transaction adds one to its
// counter and stores message and reply. Speaks length-prefixed JSON over the Unix socket it is given.
import { Database } from "bun:sqlite";

const [socketPath, databasePath] = process.argv.slice(2);

const database = new Database(databasePath, { create: true });
database.exec("PRAGMA journal_mode = WAL");
database.exec("PRAGMA synchronous = FULL");
database.exec("CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, count INTEGER NOT NULL)");
database.exec("CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY, role TEXT NOT NULL, body TEXT NOT NULL)");
database.exec("INSERT OR IGNORE INTO counter VALUES (1, 0)");
const add = database.prepare("UPDATE counter SET count = count + 1 WHERE id = 1 RETURNING count");
const store = database.prepare("INSERT INTO messages (role, body) VALUES (?, ?)");
const commit = database.transaction((text, reply) => {
  store.run("user", text);
  store.run("assistant", reply);
  return add.get().count;
});

function frame(value) {
  const body = Buffer.from(JSON.stringify(value));
  const whole = Buffer.allocUnsafe(4 + body.length);
  whole.writeUInt32LE(body.length, 0);
  body.copy(whole, 4);
  return whole;
}

// Bun's socket takes what fits and says how much that was: the rest is sent when it drains.
let waiting = [];

function flush(socket) {
  while (waiting.length > 0) {
    const [bytes] = waiting;
    const taken = socket.write(bytes);
    if (taken < bytes.length) {
      waiting[0] = bytes.subarray(Math.max(taken, 0));
      return;
    }
    waiting.shift();
  }
}

function send(socket, value) {
  const bytes = frame(value);
  if (waiting.length > 0) {
    waiting.push(bytes);
    return;
  }
  const taken = socket.write(bytes);
  if (taken < bytes.length) waiting.push(bytes.subarray(Math.max(taken, 0)));
}

const PIECE = "0123456789 ";

function turn(socket, message) {
  const pieces = message.pieces;
  let reply = "";
  for (let n = 0; n < pieces; n += 1) {
    reply += PIECE;
    send(socket, { type: "chunk", id: message.id, text: PIECE });
  }
  const count = commit(JSON.stringify(message), reply);
  send(socket, { type: "complete", id: message.id, count });
}

let pending = Buffer.alloc(0);
await Bun.connect({
  unix: socketPath,
  socket: {
    data(socket, bytes) {
      pending = pending.length === 0 ? Buffer.from(bytes) : Buffer.concat([pending, bytes]);
      while (pending.length >= 4 && pending.length >= 4 + pending.readUInt32LE(0)) {
        const end = 4 + pending.readUInt32LE(0);
        const message = JSON.parse(pending.toString("utf8", 4, end));
        pending = pending.subarray(end);
        turn(socket, message);
      }
    },
    drain(socket) {
      flush(socket);
    },
    close() {
      process.exit(0);
    },
  },
});
