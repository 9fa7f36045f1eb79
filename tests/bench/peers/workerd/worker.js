// The benchmark's agent as a Durable Object behind a hibernatable WebSocket: streams N pieces, then in one durable
// transaction adds one to its counter and stores message and reply. The platform holds back what is sent after the
// transaction until it is durable.
import { DurableObject } from "cloudflare:workers";

const PIECE = "0123456789 ";

export class Agent extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    const { sql } = ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY, count INTEGER NOT NULL)");
    sql.exec("CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY, role TEXT NOT NULL, body TEXT NOT NULL)");
    sql.exec("INSERT OR IGNORE INTO counter VALUES (1, 0)");
  }

  fetch() {
    const [client, server] = Object.values(new WebSocketPair());
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  async webSocketMessage(socket, text) {
    const message = JSON.parse(text);
    if (message.wait_ms) {
      socket.send(JSON.stringify({ type: "waiting", id: message.id }));
      await new Promise((done) => setTimeout(done, message.wait_ms));
    }
    let reply = "";
    for (let n = 0; n < message.pieces; n += 1) {
      reply += PIECE;
      socket.send(JSON.stringify({ type: "chunk", id: message.id, text: PIECE }));
    }
    const { sql } = this.ctx.storage;
    const count = this.ctx.storage.transactionSync(() => {
      sql.exec("INSERT INTO messages (role, body) VALUES ('user', ?), ('assistant', ?)", text, reply);
      return sql.exec("UPDATE counter SET count = count + 1 WHERE id = 1 RETURNING count").one().count;
    });
    socket.send(JSON.stringify({ type: "complete", id: message.id, count }));
  }
}

export default {
  fetch(request, env) {
    const agents = env.AGENTS;
    return agents.get(agents.idFromName(new URL(request.url).pathname)).fetch(request);
  },
};
