import { existsSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { createHttpLink, type Agent } from "@holdfast/agent";
import { readSecret, type ControlPlaneSettings } from "@holdfast/control-plane";
import { createMachine } from "@holdfast/machine";
import { failpointsFromText, systemClock, systemRandom } from "@holdfast/runtime/system";
import { createApiClient, failureOf, fieldOf, serverAddress } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import type { AgentCommandOptions } from "./options.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import { watchInstall } from "../machine/install-progress.ts";
import { safeFileName } from "../submit/output-names.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { holdfastVersion } from "../version.ts";
import { claimHome, explainStartFailure } from "./claim-home.ts";
import { machineKey } from "./enroll.ts";
import { listeningText, machineSettings } from "./machine-settings.ts";
import { logFor, readSettings } from "./settings.ts";
import { listenForStop, type StopSignals } from "./stop-signals.ts";

/** How long an orderly end waits for renders that are running; they are resumed otherwise. */
const DRAIN_MS = 10_000;
const LOOK_EVERY_MS = 1_000;
/** Roles whose keys the agent's routes take. */
const AGENT_ROLES: readonly string[] = ["agent", "admin"];

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
  const given = readToken(options, env);
  // A folder of its own for each name: two agents of one machine must not share an identity.
  const home = join(settings.home, "agents", safeFileName(name));
  const { ownership } = await claimHome(home);
  const stop = listenForStop(terminal, () => undefined);
  // The health server answers, and the installation begins, while the key is still being asked for.
  const key = keyOf(given, options, { settings, baseUrl, name, home, stop, terminal });
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
  try {
    await machine.start();
    await requireWelcome(baseUrl, given);
    terminal.line(`Holdfast agent ${name} for ${baseUrl}`);
    for (const line of servedLines(settings)) terminal.line(line);
    terminal.line(`  state       ${home}`);
    await untilOver(machine.agent, stop.signal, key);
    terminal.note("finishing what is running; Ctrl-C again stops at once");
    await machine.drain(DRAIN_MS);
  } catch (error) {
    if (!stop.signal.aborted) throw explainStartFailure(error);
  } finally {
    await (options.keepInstances === true ? machine.leave() : machine.stop());
    await link.close();
    await ownership.release();
    stop.release();
  }
}

/** The given key, the one that this machine was enrolled with, or a new one for a one-time token. */
async function keyOf(
  given: string | undefined,
  options: AgentCommandOptions,
  facts: {
    readonly settings: ControlPlaneSettings;
    readonly baseUrl: string;
    readonly name: string;
    readonly home: string;
    readonly stop: StopSignals;
    readonly terminal: Terminal;
  },
): Promise<string | undefined> {
  if (given !== undefined) return given;
  const { settings, baseUrl, name, home, stop, terminal } = facts;
  const { enrollToken: token } = settings;
  const enrollToken = options.enrollToken ?? (token === undefined ? undefined : readSecret(token));
  const stateDir = home;
  return await machineKey({
    baseUrl,
    enrollToken,
    machineName: name,
    stateDir,
    signal: stop.signal,
    terminal,
  });
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

/**
 * Throws {@link CommandFailure} when the control plane answers that this key will not do. One that does
 * not answer is no reason to give up: the agent waits for it.
 */
async function requireWelcome(baseUrl: string, token: string | undefined): Promise<void> {
  const api = createApiClient({ baseUrl, apiKey: token });
  const answer = await api.request("/api/v1/me");
  if (answer.kind === "refused" && answer.status < 500) throw failureOf(answer, baseUrl);
  if (answer.kind !== "answered") return;
  const role = fieldOf(await answer.response.json().catch(() => undefined), "role");
  if (typeof role !== "string" || AGENT_ROLES.includes(role)) return;
  throw new CommandFailure(
    EXIT.refused,
    `an agent needs a key of role agent; this one is of role ${role}: holdfast keys create --role agent`,
  );
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

function readToken(
  options: AgentCommandOptions,
  env: Readonly<Record<string, string | undefined>>,
): string | undefined {
  const file = options.tokenFile ?? nonEmpty(env["HOLDFAST_API_KEY_FILE"]);
  const text = options.token ?? nonEmpty(env["HOLDFAST_API_KEY"]);
  if (options.tokenFile === undefined && text !== undefined) return text;
  if (file === undefined) return text;
  try {
    return readFileSync(file, "utf8").trim();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CommandFailure(EXIT.refused, `--token-file: ${reason}`, { cause });
  }
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === "" ? undefined : text;
}
