/** The real PM2 for tests: installed once for all runs, as a machine would install it. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import type { Pm2Program } from "../../packages/machine/src/process-manager/pm2-cli.ts";
import {
  installPm2,
  type Pm2ToolOptions,
} from "../../packages/machine/src/process-manager/pm2-tool.ts";

/** Where tools of tests are kept from run to run. */
export const TEST_TOOLS =
  process.env["HOLDFAST_TEST_CACHE"] ?? join(tmpdir(), "holdfast-test-tools");

/** How tests find PM2. */
export const TEST_PM2: Pm2ToolOptions = {
  tools: TEST_TOOLS,
  ownPm2: null,
  env: process.env,
  clock: systemClock,
};

/** PM2, or undefined with a warning on the console where it cannot be had. */
export async function realPm2(): Promise<Pm2Program | undefined> {
  if (process.platform === "win32") {
    console.warn("SKIPPED: tests with the real PM2 need Linux or macOS");
    return undefined;
  }
  try {
    return await installPm2(TEST_PM2, AbortSignal.timeout(300_000));
  } catch (error) {
    console.warn(`SKIPPED: tests with the real PM2, which cannot be had: ${String(error)}`);
    return undefined;
  }
}
