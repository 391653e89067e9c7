/** `holdfast health`: exit code 0 healthy, 1 degraded, 2 down (CONTRACTS C2). */
import { assertNever } from "@holdfast/runtime";
import type { SystemHealth } from "@holdfast/contract";
import { systemClock } from "@holdfast/runtime/system";
import { fieldOf, type ApiClient } from "../api/api-client.ts";
import { HEALTH_PATH, toSystemHealth } from "../api/fleet-calls.ts";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { apiClientFor, type ClientOptions } from "../commands/client-options.ts";
import { EXIT } from "../exit-codes.ts";
import { lookOnce, watchServer, type Sight } from "../fleet/watch.ts";
import { processScreen } from "../terminal/screen.ts";
import { listenForStop } from "../up/stop-signals.ts";
import {
  healthLine,
  healthLines,
  problemsOf,
  stateOf,
  type FiringAlerts,
  type HealthSight,
} from "./health-text.ts";

/** The options of `health`. */
export interface HealthOptions extends ClientOptions {
  readonly json?: boolean;
  readonly watch?: boolean;
}

/** Codes of `holdfast health` alone: a monitor that runs it goes by them. */
export type HealthExitCode = 0 | 1 | 2;

/** The exit code for a state. */
export function healthExitCode(state: SystemHealth["state"]): HealthExitCode {
  switch (state) {
    case "healthy":
      return 0;
    case "degraded":
      return 1;
    case "down":
      return 2;
    default:
      return assertNever(state);
  }
}

/** Runs the command. */
export async function runHealth(options: HealthOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const isJson = options.json === true;
  if (options.watch === true) return await watchHealth(api, isJson, context);
  const sight = toHealthSight(await lookOnce(api, HEALTH_PATH), api.baseUrl);
  if (isJson) terminal.line(healthJson(sight));
  else {
    const firing = sight.kind === "silent" ? null : await firingAlerts(api);
    for (const line of healthLines(sight, terminal.resultColumns, firing)) terminal.line(line);
  }
  process.exitCode = healthExitCode(stateOf(sight));
}

const ALERTS_COUNTED = 100;

/** Null where that cannot be told: a key of the role `user` may not see alerts. */
export async function firingAlerts(api: ApiClient): Promise<FiringAlerts | null> {
  const answer = await api.request(`/api/v1/alerts?state=firing&limit=${ALERTS_COUNTED}`);
  if (answer.kind !== "answered") return null;
  const page: unknown = await answer.response.json().catch(() => null);
  const items = fieldOf(page, "items");
  if (!Array.isArray(items)) return null;
  return { count: items.length, hasMore: typeof fieldOf(page, "next") === "string" };
}

/** What answers and is no Holdfast is as good as silent: a monitor has three codes, not four. */
export function toHealthSight(sight: Sight, url: string): HealthSight {
  if (sight.kind === "lost") return { kind: "silent", url, reason: sight.reason };
  try {
    return { kind: "told", health: toSystemHealth(sight.body) };
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    return { kind: "silent", url, reason: error.message };
  }
}

/** What the server tells; of a silent one the same fields, with `fleet` null. */
function healthJson(sight: HealthSight): string {
  return JSON.stringify(
    sight.kind === "told"
      ? sight.health
      : { state: stateOf(sight), problems: problemsOf(sight), fleet: null },
  );
}

async function watchHealth(
  api: ApiClient,
  isJson: boolean,
  { terminal }: CommandContext,
): Promise<void> {
  const screen = isJson ? null : processScreen(terminal);
  const stop = listenForStop(terminal, () => undefined);
  let before: string | undefined;
  const onSight = (seen: Sight): void => {
    const sight = toHealthSight(seen, api.baseUrl);
    const at = new Date(systemClock.now()).toISOString();
    if (screen !== null) return screen.draw([at, ...healthLines(sight, terminal.columns)]);
    const line = healthLine(sight);
    if (line !== before) terminal.line(isJson ? healthJson(sight) : `${at}  ${line}`);
    before = line;
  };
  try {
    const { signal } = stop;
    await watchServer({ api, path: HEALTH_PATH, clock: systemClock, signal, onSight });
    process.exitCode = EXIT.interrupted;
  } finally {
    stop.release();
  }
}
