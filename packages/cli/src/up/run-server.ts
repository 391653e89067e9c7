import { createControlPlane } from "@holdfast/control-plane";
import { failpointsFromText, systemClock, systemRandom } from "@holdfast/runtime/system";
import type { SettingOptions } from "./options.ts";
import type { CommandContext } from "../command-context.ts";
import { holdfastVersion } from "../version.ts";
import { claimHome, explainStartFailure, requireFreePort } from "./claim-home.ts";
import { fleetText, readFleetPlan } from "./fleet-plan.ts";
import { logFor, readSettings } from "./settings.ts";
import { listenForStop } from "./stop-signals.ts";

/** `holdfast server`: the control plane until it is stopped. */
export async function runServer(options: SettingOptions, context: CommandContext): Promise<void> {
  const { terminal, env } = context;
  const settings = readSettings(options, context);
  const log = logFor(settings);
  const fleet = await readFleetPlan(settings, context);
  const { ownership } = await claimHome(settings.home);
  const stop = listenForStop(terminal, () => undefined);
  const controlPlane = createControlPlane({
    fleet,
    settings,
    log,
    version: holdfastVersion(),
    clock: systemClock,
    random: systemRandom,
    failpoints: failpointsFromText(env["HOLDFAST_FAILPOINTS"]),
  });
  try {
    await requireFreePort(settings);
    await controlPlane.start();
    await ownership.recordAddress({ host: settings.host, port: controlPlane.port() });
    terminal.line(`Holdfast ${holdfastVersion()} control plane at ${controlPlane.url()}`);
    terminal.line(`  data    ${settings.home}`);
    if (fleet !== undefined) terminal.line(`  fleet   ${fleetText(settings, fleet)}`);
    terminal.line(`  agents  holdfast agent --server ${controlPlane.url()} --comfyui URL`);
    await stop.asked;
    terminal.note("stopping; Ctrl-C again stops at once");
  } catch (error) {
    if (!stop.signal.aborted) throw explainStartFailure(error);
  } finally {
    await controlPlane.stop();
    await ownership.release();
    stop.release();
  }
}
