/** `holdfast fleet status`, `breaker`, `machines`, `levers`: what is there to see. */
import { systemClock } from "@holdfast/runtime/system";
import {
  findMachine,
  FLEET_PATH,
  getFleet,
  listLevers,
  listMachines,
  listRuns,
} from "../api/fleet-calls.ts";
import type { CommandContext } from "../command-context.ts";
import { CommandFailure } from "../command-failure.ts";
import { apiClientFor, type ClientOptions } from "../commands/client-options.ts";
import { EXIT } from "../exit-codes.ts";
import { processScreen } from "../terminal/screen.ts";
import { listenForStop } from "../up/stop-signals.ts";
import { breakerLines } from "./breaker-text.ts";
import { leverLines } from "./levers-text.ts";
import { machinePage } from "./machine-page.ts";
import { machineLines } from "./machines-text.ts";
import { statusLines } from "./status-text.ts";
import { createStatusView } from "./status-view.ts";
import { watchServer } from "./watch.ts";

/** The options of what shows something. */
export interface ShowOptions extends ClientOptions {
  readonly json?: boolean;
  readonly watch?: boolean;
  readonly all?: boolean;
  readonly limit?: number;
}

const DEFAULT_LIMIT = 200;

/** `holdfast fleet status`. */
export async function status(options: ShowOptions, context: CommandContext): Promise<void> {
  if (options.watch === true) return await watchStatus(options, context);
  const { terminal } = context;
  const found = await getFleet(apiClientFor(options, context));
  if (options.json === true) return terminal.line(JSON.stringify(found));
  const look = { now: systemClock.now(), columns: terminal.resultColumns };
  for (const line of statusLines(found, look)) terminal.line(line);
}

async function watchStatus(options: ShowOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const stop = listenForStop(terminal, () => undefined);
  try {
    await watchServer({
      api: apiClientFor(options, context),
      path: FLEET_PATH,
      clock: systemClock,
      signal: stop.signal,
      onSight: createStatusView({
        terminal,
        screen: processScreen(terminal),
        isJson: options.json === true,
        now: () => systemClock.now(),
      }),
    });
    process.exitCode = EXIT.interrupted;
  } finally {
    stop.release();
  }
}

/** `holdfast fleet breaker` without a file: of the running server. */
export async function breaker(options: ShowOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const found = await getFleet(apiClientFor(options, context));
  if (options.json === true) return terminal.line(JSON.stringify(found.breaker));
  const look = { now: systemClock.now(), columns: terminal.resultColumns };
  for (const line of breakerLines(found.breaker, look)) terminal.line(line);
}

/** `holdfast fleet machines`. */
export async function machines(options: ShowOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const limit = options.limit ?? DEFAULT_LIMIT;
  const isLiving = options.all !== true;
  const { items, hasMore } = await listMachines(apiClientFor(options, context), {
    limit,
    isLiving,
  });
  if (options.json === true) {
    for (const machine of items) terminal.line(JSON.stringify(machine));
  } else if (items.length === 0) {
    terminal.note(isLiving ? "no machines; --all lists those that ended too" : "no machines");
  } else {
    const look = { now: systemClock.now(), columns: terminal.resultColumns };
    for (const line of machineLines(items, look)) terminal.line(line);
  }
  if (hasMore) terminal.note(`there are more: --limit ${limit * 2}`);
}

/** `holdfast fleet show`. */
export async function showMachine(
  ref: string,
  options: ShowOptions,
  context: CommandContext,
): Promise<void> {
  const { terminal } = context;
  const api = apiClientFor(options, context);
  const machine = await findMachine(api, ref);
  if (machine === undefined) {
    throw new CommandFailure(
      EXIT.refused,
      `expected the name or the id of a machine of the fleet, found ${JSON.stringify(ref)}: holdfast fleet machines --all lists them`,
    );
  }
  const { machineId } = machine;
  const runs = machineId === null ? null : await listRuns(api, machineId);
  if (options.json === true) return terminal.line(JSON.stringify({ ...machine, runs }));
  const look = { now: systemClock.now(), columns: terminal.resultColumns };
  for (const line of machinePage(machine, runs, look)) terminal.line(line);
}

/** `holdfast fleet levers`. */
export async function levers(options: ShowOptions, context: CommandContext): Promise<void> {
  const { terminal } = context;
  const isAll = options.all === true;
  if (options.limit !== undefined && !isAll) {
    throw new CommandFailure(EXIT.refused, "--limit: expected --all beside it");
  }
  const api = apiClientFor(options, context);
  const [{ levers: inForce }, all] = await Promise.all([
    getFleet(api),
    isAll ? listLevers(api, options.limit ?? DEFAULT_LIMIT) : undefined,
  ]);
  const found = all ?? inForce;
  if (options.json === true) {
    for (const lever of found) terminal.line(JSON.stringify(lever));
  } else if (found.length === 0) {
    terminal.note(
      isAll
        ? "no lever was ever set: the settings are in force"
        : "no lever is in force: the settings are; --all lists those that were",
    );
  } else {
    const look = { now: systemClock.now(), columns: terminal.resultColumns };
    const held = isAll ? new Set(inForce.map(({ id }) => id)) : undefined;
    for (const line of leverLines(found, look, held)) terminal.line(line);
  }
}
