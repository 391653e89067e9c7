/** With which key an agent calls its control plane, and whether that one will do. */
import { readFileSync } from "node:fs";
import { readSecret, type ControlPlaneSettings } from "@holdfast/control-plane/process";
import { createApiClient, failureOf, fieldOf } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { machineKey } from "./enroll.ts";
import type { AgentCommandOptions } from "./options.ts";

/** Roles whose keys the agent's routes take. */
const AGENT_ROLES: readonly string[] = ["agent", "admin"];
/** A control plane that does not say in time what it thinks of a key is waited for by the agent itself. */
const ASK_LIMIT_MS = 15_000;

/** What finds the key. */
export interface AgentKeyFacts {
  readonly options: Pick<AgentCommandOptions, "enrollToken" | "token" | "tokenFile">;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly settings: Pick<ControlPlaneSettings, "enrollToken">;
  readonly baseUrl: string;
  readonly name: string;
  /** The agent's own folder. */
  readonly home: string;
  readonly signal: AbortSignal;
  readonly terminal: Terminal;
}

/**
 * The given key, the one that this machine was enrolled with, or a new one for a one-time token;
 * undefined when there is none. Throws {@link CommandFailure} at once when a given one cannot be read;
 * the promise waits for a control plane that does not answer, and rejects when the token is refused.
 */
export function findAgentKey(facts: AgentKeyFacts): Promise<string | undefined> {
  const { options, env, settings, baseUrl, name, home, signal, terminal } = facts;
  const given = readToken(options, env);
  if (given !== undefined) return Promise.resolve(given);
  const { enrollToken: secret } = settings;
  const enrollToken = options.enrollToken ?? enrollTokenOf(secret);
  return machineKey({ baseUrl, enrollToken, machineName: name, stateDir: home, signal, terminal });
}

/**
 * Throws {@link CommandFailure} when the control plane answers that this key will not do. One that does
 * not answer is no reason to give up: the agent waits for it.
 */
export async function requireWelcome(
  baseUrl: string,
  key: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const api = createApiClient({ baseUrl, apiKey: key });
  const within = AbortSignal.any([signal, AbortSignal.timeout(ASK_LIMIT_MS)]);
  const answer = await api.request("/api/v1/me", { signal: within }).catch(() => undefined);
  if (answer?.kind === "refused" && isAboutKey(answer)) throw failureOf(answer, baseUrl);
  if (answer?.kind !== "answered") return;
  const role = fieldOf(await answer.response.json().catch(() => undefined), "role");
  if (typeof role !== "string" || AGENT_ROLES.includes(role)) return;
  throw new CommandFailure(
    EXIT.refused,
    `an agent needs a key of role agent; this one is of role ${role}: holdfast keys create --role agent`,
  );
}

function enrollTokenOf(secret: ControlPlaneSettings["enrollToken"]): string | undefined {
  if (secret === undefined) return undefined;
  try {
    return readSecret(secret);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CommandFailure(EXIT.refused, `HOLDFAST_ENROLL_TOKEN_FILE: ${reason}`, { cause });
  }
}

/** Said by a control plane of a key, not by a proxy before it. */
function isAboutKey(answer: {
  readonly status: number;
  readonly code: string | undefined;
}): boolean {
  return (answer.status === 401 || answer.status === 403) && answer.code !== undefined;
}

function readToken(
  options: Pick<AgentCommandOptions, "token" | "tokenFile">,
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
