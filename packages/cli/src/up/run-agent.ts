import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { createHttpLink, type Agent } from "@holdfast/agent";
import type { ControlPlaneSettings } from "@holdfast/control-plane";
import { createMachine } from "@holdfast/machine";
import { failpointsFromText, systemClock, systemRandom } from "@holdfast/runtime/system";
import { serverAddress } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import type { AgentCommandOptions } from "./options.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import { watchInstall } from "../machine/install-progress.ts";
import { safeFileName } from "../submit/output-names.ts";
import { holdfastVersion } from "../version.ts";
import { agentKey, givenKey, requireWelcome } from "./agent-key.ts";
import { claimHome, explainStartFailure } from "./claim-home.ts";
import { listeningText, machineSettings } from "./machine-settings.ts";
import { logFor, readSettings } from "./settings.ts";
import { listenForStop } from "./stop-signals.ts";

/** How long an orderly end waits for renders that are running; they are resumed otherwise. */
const DRAIN_MS = 10_000;
const LOOK_EVERY_MS = 1_000;

/**
 * `holdfast agent`: keeps this machine's ComfyUIs, and takes jobs for them, until it is stopped. Without
 * a ComfyUI and without a manifest it waits for one, and its health server says so.
 */
export async function runAgent(
  options: AgentCommandOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal, env } = context;
  const settings = readSettings(options, context);
  const name = options.name ?? hostname();
  const { baseUrl } = serverAddress({ url: options.server }, env);
  const given = givenKey({ options, env });
  // A folder of its own for each name: two agents of one machine must not share an identity.
  const home = join(settings.home, "agents", safeFileName(name));
  const { ownership } = await claimHome(home);
  const stop = listenForStop(terminal, () => undefined);
  // The health server answers, and the installation begins, while the key is still being asked for.
  const key = agentKey({
    options,
    env,
    settings,
    baseUrl,
    machineName: name,
    stateDir: home,
    signal: stop.signal,
    terminal,
  });
  key.catch(() => undefined); // `untilOver` throws it; it may come sooner.
  const link = createHttpLink({ baseUrl, clock: systemClock, token: key });
  const machine = createMachine({
    ...machineSettings(settings),
    stateDir: home,
    machineName: name,
    version: holdfastVersion(),
    link,
    controlPlaneUrl: baseUrl,
    attached: settings.comfyuiUrls.map((url) => ({ url })),
    env,
    clock: systemClock,
    random: systemRandom,
    log: logFor(settings),
    failpoints: failpointsFromText(env["HOLDFAST_FAILPOINTS"]),
    onListening: (listening) => terminal.line(listeningText(listening)),
    onInstallEvent: watchInstall(terminal),
  });
  // A start that is refused leaves to the next one what an earlier agent left to this one.
  let isRefused = true;
  try {
    await machine.start();
    if (given !== undefined) await requireWelcome(baseUrl, given, stop.signal);
    terminal.line(`Holdfast agent ${name} for ${baseUrl}`);
    for (const line of servedLines(settings)) terminal.line(line);
    terminal.line(`  state       ${home}`);
    await untilOver(machine.agent, stop.signal, key);
    isRefused = false;
    terminal.note("finishing what is running; Ctrl-C again stops at once");
    await machine.drain(DRAIN_MS);
  } catch (error) {
    if (!stop.signal.aborted) throw explainStartFailure(error);
  } finally {
    const isLeft = options.keepInstances === true || (isRefused && !stop.signal.aborted);
    await (isLeft ? machine.leave() : machine.stop());
    await link.close();
    await ownership.release();
    stop.release();
  }
}

function servedLines(settings: ControlPlaneSettings): readonly string[] {
  const { manifestPath } = machineSettings(settings);
  const urls = settings.comfyuiUrls;
  return [
    ...(existsSync(manifestPath) ? [`  machine     ${manifestPath}`] : []),
    ...(urls.length > 0 ? [`  renders on  ${urls.join(", ")}`] : []),
    ...(existsSync(manifestPath) || urls.length > 0
      ? []
      : [
          "  renders on  nothing yet: holdfast machine init writes a machine.yaml, --comfyui names a running ComfyUI",
        ]),
  ];
}

/** Resolves when this process is asked to stop; throws when a newer agent process has taken over. */
async function untilOver(
  agent: Agent,
  signal: AbortSignal,
  key: Promise<string | undefined>,
): Promise<void> {
  // A refused one-time token ends the command; whoever asked for it has to know.
  let refusal: unknown;
  key.catch((error: unknown) => (refusal = error));
  while (!signal.aborted) {
    if (refusal !== undefined) throw refusal;
    if (agent.status().isSuperseded) {
      const message = "a newer agent process of this machine has taken over; this one ends";
      throw new CommandFailure(EXIT.unavailable, message);
    }
    await systemClock.sleep(LOOK_EVERY_MS, signal).catch(() => undefined);
  }
}
