/**
 * Loaded before a simulator process (`node --import`): notes when a prompt's start and success went
 * out over its WebSocket, finer than the milliseconds of the history. Written to
 * `HOLDFAST_BENCH_PROMPTS` when the process ends.
 */
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const file = process.env.HOLDFAST_BENCH_PROMPTS;
const { WebSocket } = createRequire(
  new URL("../../packages/simulator/package.json", import.meta.url),
)("ws");
const EVENT = /"type": ?"(execution_start|execution_success)".*"prompt_id": ?"([^"]+)"/;
const noted = [];

const { send } = WebSocket.prototype;
WebSocket.prototype.send = function note(data, ...rest) {
  if (typeof data === "string") {
    const match = EVENT.exec(data);
    if (match !== null) {
      noted.push([performance.timeOrigin + performance.now(), match[1], match[2]]);
    }
  }
  return send.call(this, data, ...rest);
};

if (file !== undefined) {
  process.on("exit", () => writeFileSync(file, JSON.stringify(noted)));
}
