// The benchmark's agent in JavaScript, on the bare contract: told a number, it streams that many pieces and adds one
// to its counter.
import { emit } from "podium:agent/updates@0.1.0";
import { apply, get } from "podium:agent/state@0.1.0";

// The same piece as everybody's.
const PIECE = "0123456789 ";
const ITEM = "text";

function add() {
  const count = get("/count");
  const operation = count === undefined || count === null
    ? { op: "add", path: "/count", value: 1 }
    : { op: "replace", path: "/count", value: JSON.parse(count) + 1 };
  apply(JSON.stringify([operation]));
}

export const lifecycle = {
  async describe() {
    return { hooks: { onMessage: true }, stateSchemaVersion: 1, configSchema: undefined, configDefault: undefined };
  },
  async onInit() {},
  async onMessage(message) {
    const pieces = Number(message.text);
    for (let n = 0; n < pieces; n += 1) {
      emit({ tag: "text-delta", val: { item: ITEM, text: PIECE } });
    }
    emit({ tag: "text-final", val: { item: ITEM, text: PIECE.repeat(pieces) } });
    add();
  },
  async onSteer() {},
  async onConfigChange() {},
  async onIdle() {
    return true;
  },
  async onShutdown() {},
  async migrate() {},
};
