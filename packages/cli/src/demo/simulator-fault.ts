import type { FaultRule } from "@holdfast/simulator";
import { fieldOf } from "../api/api-client.ts";
import { toList } from "../api/job-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

const LIMIT_MS = 5_000;
/** A crash here comes after the sampling, with the picture almost there: nothing less was worth saving. */
const CRASH_BEFORE = "VAEDecode";

/** Makes a simulator die, once, in the middle of the next render; answers the fault's id. */
export async function injectCrash(simulatorUrl: string): Promise<string> {
  return await injectFault(simulatorUrl, {
    kind: "crash",
    match: { nodeClass: CRASH_BEFORE, count: 1 },
  });
}

/** Gives a simulator a fault; answers its id. */
export async function injectFault(simulatorUrl: string, rule: FaultRule): Promise<string> {
  const answer = await call(`${simulatorUrl}/simulator/faults`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(rule),
  });
  return String(fieldOf(answer, "id"));
}

/** How often a fault has struck. */
export async function struckCount(simulatorUrl: string, id: string): Promise<number> {
  const faults = toList(await call(`${simulatorUrl}/simulator/faults`, {}), "faults");
  return Number(
    fieldOf(
      faults.find((fault) => fieldOf(fault, "id") === id),
      "struck",
    ) ?? 0,
  );
}

async function call(url: string, init: RequestInit): Promise<unknown> {
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(LIMIT_MS) });
    if (response.ok) return await response.json();
    throw new Error(`answered HTTP ${response.status}`);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CommandFailure(EXIT.failed, `fault injection: ${url}: ${reason}`, { cause });
  }
}
