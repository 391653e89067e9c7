/** The breaker in words for people (CONTRACTS C2). */
import { assertNever } from "@holdfast/runtime";
import type { BreakerView } from "./breaker.ts";
import type { FailureCounts } from "./counts.ts";
import type { BreakerPolicy } from "./policy.ts";

const MS_PER_SECOND = 1_000;
const SECONDS_PER_MINUTE = 60;

const PERCENT = 100;

/** `85.7% (6/7 machines in last 30 minutes)`, with one decimal always. */
export function rateText({ rate, failed, seen }: FailureCounts, windowMs: number): string {
  const machines = seen === 1 ? "machine" : "machines";
  return `${(rate * PERCENT).toFixed(1)}% (${failed}/${seen} ${machines} in last ${spanText(windowMs)})`;
}

/** Why machines may be started, or why not. */
export function reasonText(view: BreakerView, policy: BreakerPolicy): string {
  const rate = rateText(view, policy.windowMs);
  const threshold = percent(policy.threshold);
  switch (view.state) {
    case "open":
      return `failure rate ${rate} is at or over the threshold of ${threshold}`;
    case "half_open":
      return `${halfOpenText(view, policy)}; ${nextText(view)}`;
    case "closed":
      return view.isChecked
        ? `failure rate ${rate} is under the threshold of ${threshold}`
        : `${view.seen} of the ${policy.minimum} machines that a check needs were seen in the last ${spanText(policy.windowMs)}`;
    default:
      return assertNever(view.state);
  }
}

/** Failures that left the window may leave too few machines for a rate: theirs may be as high as ever. */
function halfOpenText(view: BreakerView, { windowMs, minimum, threshold }: BreakerPolicy): string {
  return view.isChecked
    ? `failure rate ${rateText(view, windowMs)} fell under the threshold of ${percent(threshold)}`
    : `${view.failed} of ${view.seen} machines in the last ${spanText(windowMs)} failed, fewer machines than the ${minimum} that a check needs`;
}

function nextText({ probeAt }: BreakerView): string {
  return probeAt === null
    ? "one machine at a time until one is healthy"
    : `those that were tried have failed too: the next one is tried at ${new Date(probeAt).toISOString()}`;
}

/** A share with one decimal, whole numbers without: `80%`, `85.7%`. */
export function percent(share: number): string {
  const tenths = Math.round(share * 1_000);
  return tenths % 10 === 0 ? `${tenths / 10}%` : `${(tenths / 10).toFixed(1)}%`;
}

function spanText(ms: number): string {
  const seconds = ms / MS_PER_SECOND;
  const [amount, unit] =
    seconds % SECONDS_PER_MINUTE === 0
      ? [seconds / SECONDS_PER_MINUTE, "minute"]
      : [seconds, "second"];
  return `${amount} ${unit}${amount === 1 ? "" : "s"}`;
}
