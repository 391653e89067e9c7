/**
 * Loaded before a `holdfast` process (`node --import`): counts the SQL statements it sends, with their
 * time, and writes them to `HOLDFAST_BENCH_STATEMENTS` when it ends or is sent SIGUSR2. Statements that
 * were sent before SIGUSR1 are forgotten: a warm-up ends so.
 */
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const file = process.env.HOLDFAST_BENCH_STATEMENTS;
// The database driver is no dependency of the benches: it is taken from the package that uses it.
const pg = createRequire(new URL("../../packages/control-plane/package.json", import.meta.url))(
  "pg",
);
const MAX_TIMELINE = 20_000;
const MAX_TEXT = 60;
let counts = new Map();
let timeline = [];

const query = pg.Client.prototype.query;
pg.Client.prototype.query = function record(config, ...rest) {
  const text = typeof config === "string" ? config : (config.text ?? "");
  const name = config.name ?? text.replaceAll(/\s+/g, " ").trim().slice(0, MAX_TEXT);
  const begun = performance.now();
  const done = () => {
    const ms = performance.now() - begun;
    const seen = counts.get(name) ?? { count: 0, ms: 0 };
    counts.set(name, { count: seen.count + 1, ms: seen.ms + ms });
    if (timeline.length < MAX_TIMELINE) timeline.push([performance.timeOrigin + begun, ms, name]);
  };
  const callback = rest.at(-1);
  if (typeof callback === "function") {
    rest[rest.length - 1] = (...answer) => {
      done();
      callback(...answer);
    };
    return query.call(this, config, ...rest);
  }
  const result = query.call(this, config, ...rest);
  if (typeof result?.then === "function") result.then(done, done);
  return result;
};

if (file !== undefined) {
  const write = () => writeFileSync(file, JSON.stringify({ counts: [...counts], timeline }));
  process.on("exit", write);
  process.on("SIGUSR2", write);
  process.on("SIGUSR1", () => {
    counts = new Map();
    timeline = [];
  });
}
