import { readFileSync } from "node:fs";
import { readSecret, type ControlPlaneSettings } from "@holdfast/control-plane";
import { createApiClient, failureOf, fieldOf } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { machineKey } from "./enroll.ts";
import type { AgentCommandOptions } from "./options.ts";

/** Roles whose keys the agent's routes take. */
const AGENT_ROLES: readonly string[] = ["agent", "admin"];
/** A control plane that takes longer to say so is one that is not there yet. */
const WELCOME_MS = 10_000;

/** What the key of an agent depends on. */
export interface AgentKeyFacts {
  readonly options: AgentCommandOptions;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly settings: ControlPlaneSettings;
  readonly baseUrl: string;
  readonly machineName: string;
  /** The agent's own folder. */
  readonly stateDir: string;
  readonly signal: AbortSignal;
  readonly terminal: Terminal;
}

/**
 * The key of an agent: the one it was given, a new one for a one-time token, or the one that this machine
 * was enrolled with; undefined without any. Waits for the control plane while it enrols. Throws
 * {@link CommandFailure} when a token or its file cannot be used.
 */
export async function agentKey(facts: AgentKeyFacts): Promise<string | undefined> {
  const { options, settings, baseUrl, machineName, stateDir, signal, terminal } = facts;
  const given = givenKey(facts);
  if (given !== undefined) return given;
  const enrollToken = options.enrollToken ?? fromSettings(settings);
  return await machineKey({ baseUrl, enrollToken, machineName, stateDir, signal, terminal });
}

/** The key that somebody named for this start. */
export function givenKey({
  options,
  env,
}: Pick<AgentKeyFacts, "env" | "options">): string | undefined {
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

function fromSettings({ enrollToken }: ControlPlaneSettings): string | undefined {
  if (enrollToken === undefined) return undefined;
  try {
    return readSecret(enrollToken);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CommandFailure(EXIT.refused, `HOLDFAST_ENROLL_TOKEN_FILE: ${reason}`, { cause });
  }
}

/**
 * Throws {@link CommandFailure} when the control plane answers that a key somebody named will not do.
 * One that does not answer, or something on the way to it that does, is no reason to give up.
 */
export async function requireWelcome(
  baseUrl: string,
  key: string,
  signal: AbortSignal,
): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(WELCOME_MS)]);
  const api = createApiClient({ baseUrl, apiKey: key });
  const answer = await api.request("/api/v1/me", { signal: limit }).catch((error: unknown) => {
    signal.throwIfAborted();
    if (limit.aborted) return undefined;
    throw error;
  });
  if (answer?.kind === "refused" && isAboutKey(answer)) throw failureOf(answer, baseUrl);
  if (answer?.kind !== "answered") return;
  const role = fieldOf(await answer.response.json().catch(() => undefined), "role");
  if (typeof role !== "string" || AGENT_ROLES.includes(role)) return;
  throw new CommandFailure(
    EXIT.refused,
    `an agent needs a key of role agent; this one is of role ${role}: holdfast keys create --role agent`,
  );
}

/** Said by a control plane, not by a proxy before it. */
function isAboutKey(answer: {
  readonly status: number;
  readonly code: string | undefined;
}): boolean {
  return (answer.status === 401 || answer.status === 403) && answer.code !== undefined;
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === "" ? undefined : text;
}
