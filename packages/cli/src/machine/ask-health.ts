/** Asks the agent on a machine folder how it is, by the address that it left there. */
import { readFile } from "node:fs/promises";
import { readHealthAddress, type HealthAnswer, type ServicesAnswer } from "@holdfast/machine";
import { isProcessAlive } from "@holdfast/runtime/host";

/** What came of it. */
export type AgentSight =
  | { readonly kind: "none" }
  | {
      /** It runs, or something does that has its process number, and does not tell. */
      readonly kind: "silent";
      readonly url: string;
      readonly pid: number;
      readonly reason: string;
    }
  | {
      readonly kind: "answers";
      readonly url: string;
      readonly health: HealthAnswer;
      readonly services: ServicesAnswer["services"];
    };

const LIMIT_MS = 3_000;

/** Never throws. `tokenFile`: of a health server that asks for one. */
export async function askHealth(
  addressFile: string,
  tokenFile: string | null,
): Promise<AgentSight> {
  const address = await readHealthAddress(addressFile);
  if (address === undefined) return { kind: "none" };
  const { url, pid } = address;
  try {
    const token = tokenFile === null ? "" : (await readFile(tokenFile, "utf8")).trim();
    const [health, services] = await Promise.all([
      ask<HealthAnswer>(`${url}/health`, token),
      ask<ServicesAnswer>(`${url}/services`, token),
    ]);
    return { kind: "answers", url, health, services: services.services };
  } catch (error) {
    // Killed, it could not take its address away; whoever has the port now is somebody else.
    if (!(await isProcessAlive(pid))) return { kind: "none" };
    return { kind: "silent", url, pid, reason: reasonOf(error) };
  }
}

async function ask<T>(url: string, token: string): Promise<T> {
  const response = await fetch(url, {
    signal: AbortSignal.timeout(LIMIT_MS),
    ...(token === "" ? {} : { headers: { authorization: `Bearer ${token}` } }),
  });
  if (response.status === 401) {
    throw new Error("it asks for its token: name the file by HOLDFAST_HEALTH_TOKEN_FILE");
  }
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return (await response.json()) as T;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
