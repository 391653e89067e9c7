import { join } from "node:path";
import { stallTimes } from "@holdfast/control-plane/process";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { createApiClient } from "../api/api-client.ts";
import { logFor } from "../up/settings.ts";
import { openDirectRenderer } from "./direct/direct-renderer.ts";
import { WORK_FOLDER } from "./folder/results-folder.ts";
import { createHoldfastRenderer } from "./holdfast-renderer.ts";
import { RUN_LIMIT_MS } from "./limits.ts";
import type { Renderer } from "./renderer.ts";
import type { RunRequest } from "./request.ts";

/** What the target is rendered on with. */
export async function openRenderer(request: RunRequest): Promise<Renderer> {
  const { target, settings, options, experiment } = request;
  const common = {
    workFolder: join(request.folder, WORK_FOLDER),
    executionLimitMs: options.timeout ?? RUN_LIMIT_MS,
    clock: systemClock,
    random: systemRandom,
  };
  if (target.kind === "holdfast") {
    const api = createApiClient(target.address);
    return createHoldfastRenderer({ ...common, api, experiment: experiment.plan.name });
  }
  // The agent's log is for whoever looks into it: what matters of a run is in its result.
  const logLevel = settings.logLevel === "info" ? "silent" : settings.logLevel;
  const { progressMs, firstLoadMs } = stallTimes(settings);
  return await openDirectRenderer({
    ...common,
    url: target.url,
    inFlight: target.inFlight,
    stall: { progressMs, firstLoadMs },
    log: logFor({ ...settings, logLevel }),
  });
}
