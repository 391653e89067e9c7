// `npm run chaos`: the whole kill matrix. The result is kept in docs/results/.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { setUp } from "./setup.mjs";

const root = new URL("..", import.meta.url).pathname;
setUp({ build: true });
const day = new Date().toISOString().slice(0, 10);
const { status } = spawnSync(
  process.execPath,
  [join(root, "node_modules/vitest/vitest.mjs"), "run", "--project", "chaos"],
  {
    cwd: root,
    stdio: "inherit",
    env: {
      ...process.env,
      HOLDFAST_CHAOS: "all",
      HOLDFAST_CHAOS_RESULT: join(root, `docs/results/chaos-${day}.json`),
    },
  },
);
process.exit(status ?? 1);
