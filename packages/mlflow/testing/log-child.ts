/**
 * A process that logs runs from one number on and says `kept N` when the disk has run N: for tests that kill
 * it at any moment. Arguments: home, URL of MLflow, first run, runs. It ends when all is delivered.
 */
import { join } from "node:path";
import { systemRandom } from "@holdfast/runtime/system";
import { openRunLog } from "../src/run-log.ts";
import { fastClock } from "./fast-clock.ts";

const [home = "", baseUrl = "", first = "0", runs = "0"] = process.argv.slice(2);
const opened = await openRunLog({
  folder: join(home, "mlflow"),
  experiment: "castle",
  target: { baseUrl, authorization: null },
  clock: fastClock(50),
  random: systemRandom,
  limits: { segmentBytes: 2_000, bufferBytes: 4_000, callTimeoutMs: 20_000 },
});
if (opened.kind !== "open") throw new Error(JSON.stringify(opened));
const { log } = opened;
for (let n = Number(first); n < Number(runs); n += 1) {
  const key = `exp_${n}`;
  const kept = [
    await log.startRun({ key, name: key, params: { n: `${n}` } }),
    await log.metrics(key, { value: n }, { at: n, step: n }),
    await log.artifact(key, "image.png", join(home, "image.png")),
    await log.endRun(key, "FINISHED"),
  ];
  if (kept.some(({ kind }) => kind !== "kept")) throw new Error(JSON.stringify(kept));
  process.stdout.write(`kept ${n}\n`);
}
const flushed = await log.flush({ timeoutMs: 50 * 30_000 });
process.stdout.write(`flushed ${flushed.kind} ${flushed.setAside}\n`);
await log.close();
