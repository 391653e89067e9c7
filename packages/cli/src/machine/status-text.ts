import { readFile } from "node:fs/promises";
import type {
  HealthAnswer,
  InstallationSummary,
  MachinePlaces,
  ServicesAnswer,
} from "@holdfast/machine";

/** How a running agent's health server answers; null when there is none, or it wants a token. */
export interface AgentHealth {
  readonly url: string;
  readonly health: HealthAnswer;
  readonly services: ServicesAnswer["services"];
}

const LIMIT_MS = 3_000;

/** Asks the agent of this machine folder, by the address that it left there. Never throws. */
export async function askHealth(places: MachinePlaces): Promise<AgentHealth | null> {
  try {
    const { url } = JSON.parse(await readFile(places.healthAddress, "utf8")) as { url: string };
    const [health, services] = await Promise.all([
      ask<HealthAnswer>(`${url}/health`),
      ask<ServicesAnswer>(`${url}/services`),
    ]);
    return { url, health, services: services.services };
  } catch {
    return null;
  }
}

async function ask<T>(url: string): Promise<T> {
  const response = await fetch(url, { signal: AbortSignal.timeout(LIMIT_MS) });
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return (await response.json()) as T;
}

/** What is installed and how it is, in lines. */
export function statusLines(
  summary: InstallationSummary,
  agent: AgentHealth | null,
): readonly string[] {
  const { lock, current, previous, releases, busyPid } = summary;
  return [
    ...(lock === null
      ? ["nothing is installed: holdfast machine install"]
      : [
          `release ${lock.release} serves, made ${new Date(lock.createdAt).toISOString()}`,
          `  ComfyUI ${lock.comfyui.version ?? "?"} (${lock.comfyui.commit?.slice(0, 12) ?? lock.comfyui.adopted ?? "?"}), Python ${lock.python.version}, PyTorch ${torchText(lock.torch)}`,
          ...lock.nodes.map(({ name, commit, missing }) =>
            missing === null
              ? `  node pack ${name} ${commit.slice(0, 12)}`
              : `  node pack ${name} is MISSING: ${missing}`,
          ),
          `  ${lock.models.length} models, ${lock.nodeClasses.length} node classes`,
        ]),
    ...releases
      .filter(({ id }) => id !== current)
      .map(({ id, lock: own }) => {
        const what = id === previous ? " (before: rollback goes there)" : "";
        return `  release ${id}${own === null ? " is half-built" : what}`;
      }),
    ...(busyPid === null ? [] : [`an installer is at work: process ${busyPid}`]),
    ...(agent === null ? ["no agent runs on this machine folder"] : agentLines(agent)),
  ];
}

function torchText({
  version,
  backend,
}: NonNullable<InstallationSummary["lock"]>["torch"]): string {
  if (version === null) return "none";
  return backend === "none" ? `${version}, left to the requirements` : `${version} (${backend})`;
}

function agentLines({ url, health, services }: AgentHealth): readonly string[] {
  return [
    `agent at ${url}: ${health.state}, ${health.reason}`,
    ...health.manifest.problems.map((problem) => `  ${problem}`),
    ...services.map(({ name, state, reason }) => `  ${name}: ${state}, ${reason}`),
  ];
}
