// `npm run test:sim`: the simulation tier. `-- --seed N` replays one seed of the fleets and writes its
// trace to a file; `-- --seeds N` runs the first N seeds. Everything else goes to Vitest.
import { spawnSync } from "node:child_process";
import { join } from "node:path";

const root = new URL("..", import.meta.url).pathname;
const rest = [];
const env = { ...process.env };
const given = process.argv.slice(2);
let hasSeeds = false;
for (let at = 0; at < given.length; at += 1) {
  const [name, inline] = given[at].split("=", 2);
  if (name !== "--seed" && name !== "--seeds") {
    rest.push(given[at]);
    continue;
  }
  const value = inline ?? given[(at += 1)];
  if (!/^[1-9]\d{0,9}$/.test(value ?? "")) {
    console.error(`${name} takes a whole number from 1, not ${value ?? "nothing"}`);
    process.exit(2);
  }
  env[name === "--seed" ? "HOLDFAST_SIM_SEED" : "HOLDFAST_SIM_SEEDS"] = value;
  hasSeeds = true;
}
const { status } = spawnSync(
  process.execPath,
  [
    join(root, "node_modules/vitest/vitest.mjs"),
    "run",
    "--project",
    "simulation",
    ...(hasSeeds ? ["test/simulation/fleet.test.ts"] : []),
    ...rest,
  ],
  { cwd: root, stdio: "inherit", env },
);
process.exit(status ?? 1);
