import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { createAgent, createHttpLink, type Agent } from "@holdfast/agent";
import { failpointsFromText, systemClock, systemRandom } from "@holdfast/runtime/system";
import { createApiClient, failureOf, fieldOf, serverAddress } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import type { AgentCommandOptions } from "./options.ts";
import { EXIT } from "../exit-codes.ts";
import type { CommandContext } from "../command-context.ts";
import { safeFileName } from "../submit/output-names.ts";
import { claimHome, explainStartFailure } from "./claim-home.ts";
import { logFor, readSettings } from "./settings.ts";
import { listenForStop } from "./stop-signals.ts";

/** How long an orderly end waits for renders that are running; they are resumed otherwise. */
const DRAIN_MS = 10_000;
const LOOK_EVERY_MS = 1_000;
/** Roles whose keys the agent's routes take. */
const AGENT_ROLES: readonly string[] = ["agent", "admin"];

/** `holdfast agent`: serves its ComfyUIs until it is stopped. */
export async function runAgent(
  options: AgentCommandOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal, env } = context;
  const settings = readSettings(options, context);
  if (settings.comfyuiUrls.length === 0) {
    throw new CommandFailure(
      EXIT.refused,
      "no ComfyUI is named: use --comfyui http://127.0.0.1:8188, or COMFYUI_URL",
    );
  }
  const name = options.name ?? hostname();
  const { baseUrl } = serverAddress({ url: options.server }, env);
  const token = readToken(options, env);
  const log = logFor(settings);
  // A folder of its own for each name: two agents of one machine must not share an identity.
  const home = join(settings.home, "agents", safeFileName(name));
  const { ownership } = await claimHome(home);
  const stop = listenForStop(terminal, () => undefined);
  const link = createHttpLink({
    baseUrl,
    clock: systemClock,
    ...(token === undefined ? {} : { token }),
  });
  const agent = createAgent({
    link,
    instances: settings.comfyuiUrls.map((url) => ({ url })),
    stateDir: home,
    machineName: name,
    clock: systemClock,
    random: systemRandom,
    log,
    failpoints: failpointsFromText(env["HOLDFAST_FAILPOINTS"]),
  });
  try {
    await requireWelcome(baseUrl, token);
    await agent.start();
    terminal.line(`Holdfast agent ${name} for ${baseUrl}`);
    terminal.line(`  renders on  ${settings.comfyuiUrls.join(", ")}`);
    terminal.line(`  state       ${home}`);
    await untilOver(agent, stop.signal);
    terminal.note("finishing what is running; Ctrl-C again stops at once");
    await agent.drain(DRAIN_MS);
  } catch (error) {
    if (!stop.signal.aborted) throw explainStartFailure(error);
  } finally {
    await agent.stop();
    await link.close();
    await ownership.release();
    stop.release();
  }
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
async function untilOver(agent: Agent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
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
