/**
 * `npm run bench [-- NAME… [FLAGS]]`: set-up, then the named benches of `bench/`, or all short ones.
 * Flags go to each of them; `--quick` takes few samples. Results are kept in `bench/results/`.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setUp } from "./setup.mjs";

const FOLDER = fileURLToPath(new URL("../bench/", import.meta.url));
/** What runs when nothing is named: minutes, not half an hour. */
const SHORT = ["throughput", "idle-gap", "queue", "start"];

const args = process.argv.slice(2);
const at = args.findIndex((arg) => arg.startsWith("-"));
const flags = at === -1 ? [] : args.slice(at);
const names = at === -1 ? args : args.slice(0, at);
const known = readdirSync(FOLDER)
  .filter((file) => file.endsWith(".mjs"))
  .map((file) => file.slice(0, -".mjs".length));
const unknown = names.find((name) => !existsSync(join(FOLDER, `${name}.mjs`)));

if (unknown !== undefined) {
  process.stderr.write(`there is no bench ${unknown}; they are ${known.join(", ")}\n`);
  process.exitCode = 2;
} else if (setUp()) {
  const wanted = names.length === 0 ? SHORT : names;
  const failed = wanted.filter((name) => {
    const { status } = spawnSync(process.execPath, [join(FOLDER, `${name}.mjs`), ...flags], {
      stdio: "inherit",
    });
    return status !== 0;
  });
  if (failed.length > 0) process.stderr.write(`\nfailed: ${failed.join(", ")}\n`);
  process.exitCode = failed.length === 0 ? 0 : 1;
} else {
  process.exitCode = 1;
}
