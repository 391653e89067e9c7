import { randomInt } from "node:crypto";
import { existsSync, writeSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { abortReason, type Abortable, type Clock } from "../clock.ts";
import { NO_FAILPOINTS, type Failpoints } from "../failpoints.ts";
import type { Random } from "../random.ts";

/** The machine's real clock. The only place that asks the platform for time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  async sleep(ms: number, signal?: Abortable): Promise<void> {
    if (signal === undefined) {
      await delay(ms);
      return;
    }
    if (signal.aborted) throw abortReason(signal);
    const own = new AbortController();
    const onAbort = (): void => own.abort();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await delay(ms, undefined, { signal: own.signal });
    } catch (error) {
      throw signal.aborted ? abortReason(signal) : error;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  },
};

/** The machine's real randomness, from the operating system. */
export const systemRandom: Random = {
  next: () => randomInt(0, 2 ** 47) / 2 ** 47,
};

/**
 * Failpoints from `HOLDFAST_FAILPOINTS`, for chaos tests only:
 * `name:nth:kill` kills this process with SIGKILL at the nth hit; `name:nth:pause:FILE` prints
 * `failpoint NAME` on standard error and waits until FILE exists. Several are separated by commas.
 * An empty or missing text arms nothing.
 */
export function failpointsFromText(text: string | undefined): Failpoints {
  if (text === undefined || text === "") return NO_FAILPOINTS;
  const armed = new Map<string, { left: number; action: string; file: string | undefined }>();
  for (const part of text.split(",")) {
    const [name, nth, action, ...file] = part.split(":");
    if (name === undefined || nth === undefined || (action !== "kill" && action !== "pause")) {
      throw new Error(
        `HOLDFAST_FAILPOINTS: expected name:nth:kill or name:nth:pause:FILE, got ${part}`,
      );
    }
    armed.set(name, { left: Number(nth), action, file: file.join(":") || undefined });
  }
  return {
    hit(name) {
      const point = armed.get(name);
      if (point === undefined) return undefined;
      point.left -= 1;
      if (point.left !== 0) return undefined;
      writeSync(2, `failpoint ${name}\n`);
      if (point.action === "kill") process.kill(process.pid, "SIGKILL");
      return waitForFile(point.file);
    },
  };
}

async function waitForFile(file: string | undefined): Promise<void> {
  if (file === undefined) return;
  while (!existsSync(file)) await delay(5);
}
