// `npm run chaos`: the whole chaos matrix and its twin, some 20 minutes; or, with HOLDFAST_CHAOS_CELL, one
// cell. A whole result is kept in docs/results/.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { setUp } from "./setup.mjs";

const root = new URL("..", import.meta.url).pathname;
setUp({ build: true });
const day = new Date().toISOString().slice(0, 10);
const isWhole = process.env.HOLDFAST_CHAOS_CELL === undefined;
const result = { HOLDFAST_CHAOS_RESULT: join(root, `docs/results/chaos-${day}.json`) };
const { status } = spawnSync(
  process.execPath,
  [join(root, "node_modules/vitest/vitest.mjs"), "run", "--project", "chaos"],
  {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, HOLDFAST_CHAOS: "all", ...(isWhole ? result : {}) },
  },
);
process.exit(status ?? 1);
