import { randomInt } from "node:crypto";
import { existsSync, writeSync } from "node:fs";
import { abortReason, type Abortable, type Clock } from "../clock.ts";
import { NO_FAILPOINTS, type Failpoints } from "../failpoints.ts";
import type { Random } from "../random.ts";

/** The machine's real clock. The only place that asks the platform for time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  // Plain timers: aborting `timers/promises` makes an error with a stack each time, and most sleeps
  // here are deadlines that are called off.
  sleep(ms: number, signal?: Abortable): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(abortReason(signal));
        return;
      }
      const onAbort = (): void => {
        clearTimeout(timer);
        if (signal !== undefined) reject(abortReason(signal));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      }, ms);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
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
  while (!existsSync(file)) await systemClock.sleep(5);
}
