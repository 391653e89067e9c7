/**
 * Tells the six states of a service apart (CONTRACTS C3), from facts alone. What comes first decides:
 *
 * 1. not configured: nothing else about it matters;
 * 2. not installed: missing, being installed, or broken. Whoever keeps an older release serving
 *    while a newer one is made reports `installed`, for what serves is installed;
 * 3. stopped: ended, being ended, or ended too often (crash loop). It takes no work and will not
 *    come to by waiting for its check;
 * 4. starting: on its way, or running with no check that came to an end yet;
 * 5. unhealthy: its check fails;
 * 6. healthy: it runs and its check passes, or it has none.
 *
 * What runs elsewhere is never `stopped`: nothing here could start it, and a refused connection looks
 * the same whether it was stopped, moved, or hidden by a firewall. It is `unhealthy`, and the reason
 * says what was found. Elsewhere and without a check nothing is known of it: that is `unhealthy` too.
 */
import { assertNever } from "@holdfast/runtime";
import type { DependencyHealth, ServiceFacts, ServiceState } from "./model.ts";

/** A state, and why it is that one, in words. */
export interface StateDecision {
  readonly state: ServiceState;
  readonly reason: string;
}

/** Longest reason that is told. */
export const REASON_MAX_CHARS = 500;

/** Which state a service is in. Total: every combination of facts has one. */
export function decideServiceState(facts: ServiceFacts): StateDecision {
  const { isConfigured, installation } = facts;
  if (!isConfigured) {
    return decision("not_configured", "not enabled in the configuration", installation.detail);
  }
  switch (installation.state) {
    case "missing":
      return decision("not_installed", "not installed", installation.detail);
    case "installing":
      return decision("not_installed", "being installed", installation.detail);
    case "broken":
      return decision("not_installed", "its installation failed", installation.detail);
    case "none":
    case "installed":
      return decideRuntime(facts);
    default:
      return assertNever(installation.state);
  }
}

function decideRuntime(facts: ServiceFacts): StateDecision {
  const { runtime } = facts;
  switch (runtime.state) {
    case "stopped":
      return decision("stopped", "not running", runtime.detail);
    case "stopping":
      return decision("stopped", "being stopped", runtime.detail);
    case "crash_loop":
      return decision("stopped", "ended too often, not started again", runtime.detail);
    case "starting":
      return decision("starting", "starting", runtime.detail);
    case "running":
      return decideCheck(facts, "running");
    case "elsewhere":
      return decideCheck(facts, "elsewhere");
    default:
      return assertNever(runtime.state);
  }
}

function decideCheck(facts: ServiceFacts, where: "running" | "elsewhere"): StateDecision {
  const { check, runtime } = facts;
  const isOurs = where === "running";
  switch (check.state) {
    case "none":
      return isOurs
        ? decision("healthy", "running; it has no check", runtime.detail)
        : decision("unhealthy", "runs elsewhere and has no check: nothing is known of it", null);
    case "pending": {
      const text = isOurs ? "running, not checked yet" : "runs elsewhere, not checked yet";
      return decision("starting", text, check.detail);
    }
    case "failing":
      return decision("unhealthy", "its check fails", check.detail);
    case "passing":
      return decision(
        "healthy",
        isOurs ? "running, its check passes" : "its check passes",
        check.detail,
      );
    default:
      return assertNever(check.state);
  }
}

/**
 * The reason with what it needs and is not healthy; as it was when all of that is well. What the reason
 * tells of already is not told again.
 */
export function withDependencies(
  reason: string,
  dependencies: readonly DependencyHealth[],
): string {
  const ill = dependencies.filter(
    ({ name, state }) => state !== "healthy" && !reason.includes(`${name} is `),
  );
  if (ill.length === 0) return reason;
  const names = ill.map(({ name, state }) => `${name} (${state})`).join(", ");
  return oneLine(`${reason}; it needs ${names}`);
}

function decision(state: ServiceState, text: string, detail: string | null): StateDecision {
  const told = detail === null || detail.trim() === "" ? text : `${text}: ${detail}`;
  return { state, reason: oneLine(told) };
}

/** In one line, without control characters (they would steer a terminal), and of bounded length. */
export function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex
  const plain = text.replaceAll(/[\u0000-\u001f\u007f-\u009f\s]+/g, " ").trim();
  return plain.length <= REASON_MAX_CHARS ? plain : `${plain.slice(0, REASON_MAX_CHARS - 1)}…`;
}
