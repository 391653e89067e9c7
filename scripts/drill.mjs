// `npm run drill`: 1,000 seeded faults on a whole system, some six minutes; `-- --seed N` for other ones, `--faults N`
// for fewer. With HOLDFAST_TEST_COMFYUI_URL also what a real ComfyUI can be made to do. Exits 1 on a missed target.
// A whole run is kept in docs/results/.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { setUp } from "./setup.mjs";

const root = new URL("..", import.meta.url).pathname;
const WHOLE = 1_000;
const settings = { seed: 1, faults: WHOLE };
const given = process.argv.slice(2);
for (let at = 0; at < given.length; at += 1) {
  const [flag, inline] = given[at].split("=", 2);
  const name = flag.replace(/^--/, "");
  const value = inline ?? given[(at += 1)];
  if (!flag.startsWith("--") || !(name in settings) || !/^[1-9]\d{0,8}$/.test(value ?? "")) {
    console.error(`usage: npm run drill -- [--seed N] [--faults N], not ${given.join(" ")}`);
    process.exit(2);
  }
  settings[name] = Number(value);
}

setUp({ build: true });
const folder = mkdtempSync(join(tmpdir(), "holdfast-drill-"));
const parts = join(folder, "parts.json");
const { status } = spawnSync(
  process.execPath,
  [join(root, "node_modules/vitest/vitest.mjs"), "run", "--project", "drill"],
  {
    cwd: root,
    stdio: "inherit",
    env: {
      ...process.env,
      HOLDFAST_DRILL_SEED: String(settings.seed),
      HOLDFAST_DRILL_FAULTS: String(settings.faults),
      HOLDFAST_DRILL_PARTS: parts,
    },
  },
);
const found = existsSync(parts) ? JSON.parse(readFileSync(parts, "utf8")) : {};
rmSync(folder, { recursive: true, force: true });

if (settings.faults === WHOLE && Object.keys(found).length > 0) keep(found);
// The faults by seed come last, and their last line with them.
const names = Object.keys(found).sort((a, b) => Number(a > b) || -1);
for (const name of names) console.log(`\n== ${name}\n${found[name].report}`);
const isPassed = names.length > 0 && names.every((name) => found[name].result.isPassed);
process.exit(status === 0 && isPassed ? 0 : 1);

function keep(all) {
  const day = new Date().toISOString().slice(0, 10);
  const file = join(root, `docs/results/drill-${day}.json`);
  const before = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  const machine = { cores: cpus().length, node: process.version };
  const results = Object.fromEntries(
    Object.entries(all).map(([name, { result }]) => [
      name,
      { at: new Date().toISOString(), ...result },
    ]),
  );
  writeFileSync(file, `${JSON.stringify({ ...before, machine, ...results }, null, 2)}\n`);
}
