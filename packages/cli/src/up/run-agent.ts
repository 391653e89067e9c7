import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { createHttpLink, type Agent } from "@holdfast/agent";
import type { ControlPlaneSettings } from "@holdfast/control-plane/process";
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
import { findAgentKey, requireWelcome } from "./agent-key.ts";
import { claimHome, explainStartFailure } from "./claim-home.ts";
import { listeningText, machineSettings } from "./machine-settings.ts";
import { logFor, readSettings } from "./settings.ts";
import { listenForStop } from "./stop-signals.ts";

/** How long an orderly end waits for renders on attached ComfyUIs; they are resumed otherwise. */
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
  const log = logFor(settings);
  const name = settings.machineName ?? hostname();
  const { baseUrl } = serverAddress({ url: options.server }, env);
  const failpoints = failpointsFromText(env["HOLDFAST_FAILPOINTS"]);
  // A folder of its own for each name: two agents of one machine must not share an identity.
  const home = join(settings.home, "agents", safeFileName(name));
  const { ownership } = await claimHome(home);
  const stop = listenForStop(terminal, () => undefined);
  const ends: (() => Promise<void>)[] = [() => ownership.release()];
  let failure: unknown;
  try {
    const { signal } = stop;
    // The health server answers, and the installation begins, while the key is still being asked for.
    const key = findAgentKey({ options, env, settings, baseUrl, name, home, signal, terminal });
    const refusal = refusalOf(key.then((known) => requireWelcome(baseUrl, known, signal)));
    const link = createHttpLink({ baseUrl, clock: systemClock, token: key });
    ends.unshift(() => link.close());
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
      log,
      failpoints,
      onListening: (listening) => terminal.line(listeningText(listening)),
      onInstallEvent: watchInstall(terminal),
    });
    // An agent that is refused leaves to the next one what an earlier one left to it.
    const isLeft = (): boolean => options.keepInstances === true || failure !== undefined;
    ends.unshift(() => (isLeft() ? machine.leave() : machine.stop()));
    await machine.start();
    terminal.line(`Holdfast agent ${name} for ${baseUrl}`);
    for (const line of servedLines(settings)) terminal.line(line);
    terminal.line(`  state       ${home}`);
    await untilOver(machine.agent, signal, refusal);
    terminal.note("finishing what is running; Ctrl-C again stops at once");
    await machine.drain(DRAIN_MS);
  } catch (error) {
    if (!stop.signal.aborted) failure = explainStartFailure(error);
  }
  for (const end of ends) {
    await end().catch((error: unknown) => {
      failure ??= new CommandFailure(EXIT.failed, (error as Error).message, { cause: error });
    });
  }
  stop.release();
  if (failure !== undefined) throw failure;
}

function servedLines(settings: ControlPlaneSettings): readonly string[] {
  const { manifestPath } = machineSettings(settings);
  const urls = settings.comfyuiUrls;
  const hasManifest = existsSync(manifestPath);
  if (!hasManifest && urls.length === 0) {
    return [
      "  renders on  nothing yet: holdfast machine init writes a machine.yaml, --comfyui names a running ComfyUI",
    ];
  }
  return [
    ...(hasManifest ? [`  machine     ${manifestPath}`] : []),
    ...(urls.length > 0 ? [`  renders on  ${urls.join(", ")}`] : []),
  ];
}

/** Why something failed, once it has; watched from now on, so that it is no failure of the process. */
function refusalOf(work: Promise<void>): () => { readonly error: unknown } | undefined {
  let refusal: { readonly error: unknown } | undefined;
  work.catch((error: unknown) => {
    refusal = { error };
  });
  return () => refusal;
}

/**
 * Resolves when this process is asked to stop. Throws when its key or one-time token is refused, for
 * whoever gave it has to know, and when a newer agent process has taken over.
 */
async function untilOver(
  agent: Agent,
  signal: AbortSignal,
  refusal: ReturnType<typeof refusalOf>,
): Promise<void> {
  while (!signal.aborted) {
    const refused = refusal();
    if (refused !== undefined) throw refused.error;
    if (agent.status().isSuperseded) {
      const message = "a newer agent process of this machine has taken over; this one ends";
      throw new CommandFailure(EXIT.unavailable, message);
    }
    await systemClock.sleep(LOOK_EVERY_MS, signal).catch(() => undefined);
  }
}
