/** What changes the fleet: levers, machines started and ended by a person's word. Each says why. */
import { FLEET_REASON_MAX, type FleetMachineView, type FleetStatus } from "@holdfast/contract";
import type { ApiClient } from "../api/api-client.ts";
import * as calls from "../api/fleet-calls.ts";
import type { LeverRequest } from "../api/fleet-calls.ts";
import type { SleepingClock } from "../api/repeatable.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import type { Ask } from "../terminal/ask.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { breakerLines } from "./breaker-text.ts";
import type { LeverReading } from "./lever-values.ts";
import { leverText } from "./levers-text.ts";

/** What the commands work with. */
export interface LeverDeps {
  readonly api: ApiClient;
  readonly terminal: Terminal;
  readonly ask: Ask;
  readonly now: () => number;
  readonly clock: SleepingClock;
}

/** What every one of them takes. */
export interface LeverOptions {
  readonly reason?: string;
  readonly json?: boolean;
}

/** Sets a lever and shows what comes of it. */
export async function setLever(
  kind: LeverRequest["kind"],
  reading: LeverReading,
  options: LeverOptions,
  deps: LeverDeps,
): Promise<void> {
  const { api, terminal } = deps;
  // A wrong value is told before a reason is asked for.
  if (reading.kind === "wrong") throw new CommandFailure(EXIT.refused, reading.message);
  const reason = await reasonFor(options, deps);
  const lever = await calls.setLever(api, { kind, value: reading.value, reason });
  if (options.json === true) return terminal.line(JSON.stringify(lever));
  terminal.line(`set: ${leverText(lever)}. Undo it: holdfast fleet undo ${lever.id}`);
  await showBreaker(deps);
}

/** Undoes a lever: what was set before it is in force again. */
export async function undoLever(id: string, options: LeverOptions, deps: LeverDeps): Promise<void> {
  const { api, terminal } = deps;
  const given = options.reason ?? (await deps.ask("Why? (recorded; may be left empty) "));
  const reason = checkedReason(given?.trim() ?? "");
  const lever = await calls.undoLever(api, id, reason === "" ? undefined : reason);
  if (options.json === true) return terminal.line(JSON.stringify(lever));
  terminal.line(`undone: ${leverText(lever)}`);
  await showBreaker(deps);
}

async function showBreaker({ api, terminal, now }: LeverDeps): Promise<void> {
  const { breaker } = await calls.getFleet(api);
  for (const line of breakerLines(breaker, { now: now(), columns: terminal.resultColumns }))
    terminal.line(line);
}

/** The options of {@link spawn}. */
export interface SpawnOptions extends LeverOptions {
  readonly pool?: string;
  readonly count?: number;
  readonly force?: boolean;
  readonly yes?: boolean;
}

/** Starts machines. While none are to be started it needs force, and where a person watches a yes. */
export async function spawn(options: SpawnOptions, deps: LeverDeps): Promise<void> {
  const { api, terminal, ask, clock } = deps;
  const { pool, count = 1, force = false } = options;
  const { breaker, pools } = await calls.getFleet(api);
  if (pool === undefined) assertOnePool(pools);
  const isBlocked = breaker.spawning === "BLOCKED";
  if (isBlocked && !force) throw new CommandFailure(EXIT.refused, blockedText(breaker));
  // Half-open too: machines have failed, and force goes past the one that is tried at a time.
  const isRisky = isBlocked || breaker.state !== "closed";
  const isSure = options.yes === true;
  if (isRisky && force && !isSure) await confirm(riskLines(breaker), ask, terminal);
  const reason = await reasonFor(options, deps);
  const wish = { ...(pool !== undefined && { pool }), count, reason };
  // What else forbids it, a budget, the server alone knows: it is told before force goes past it.
  const isForcedAtOnce = force && (isRisky || isSure);
  let spawned = await calls.spawnMachines(api, { ...wish, force: isForcedAtOnce }, clock);
  if (spawned.kind === "blocked" && force && !isForcedAtOnce) {
    await confirm([`${spawned.message}.`], ask, terminal);
    spawned = await calls.spawnMachines(api, { ...wish, force }, clock);
  }
  if (spawned.kind === "blocked") throw spawned.failure;
  const { machines } = spawned;
  show(machines, options, terminal, (one) => `${one.name} is asked for in pool ${one.pool}`);
}

/** Of several pools one is to be named; the server would say so of a field, not of an option. */
function assertOnePool(pools: FleetStatus["pools"]): void {
  if (pools.length < 2) return;
  const names = pools.map(({ name }) => name).join(", ");
  throw new CommandFailure(EXIT.refused, `--pool: expected one of ${names}, found none`);
}

function blockedText(breaker: FleetStatus["breaker"]): string {
  const { resumesAt, probeAt } = breaker;
  return [
    ...riskLines(breaker),
    ...(resumesAt === null ? [] : [`Spawning resumes at ${resumesAt} if nothing else fails.`]),
    ...(probeAt === null ? [] : [`The next machine is tried at ${probeAt}.`]),
    "To start it all the same: --force, with --reason.",
  ].join("\n");
}

/** Why it is not done, and what doing it risks. */
function riskLines({ spawning, reason, state }: FleetStatus["breaker"]): readonly string[] {
  const fails =
    "A machine that is started now will probably fail as those before it did, and is paid for meanwhile; its failure keeps spawning blocked for longer.";
  return [`spawning is ${spawning}: ${reason}.`, ...(state === "closed" ? [] : [fails])];
}

async function confirm(risks: readonly string[], ask: Ask, terminal: Terminal): Promise<void> {
  for (const line of risks) terminal.note(line);
  const answer = await ask("Start it all the same? [y/N] ");
  // Nobody is there to be asked: --force was the word.
  if (answer === null || /^y(es)?$/i.test(answer)) return;
  throw new CommandFailure(EXIT.refused, "not confirmed: nothing was started");
}

/** The options of {@link end}. */
export interface EndOptions extends LeverOptions {
  readonly now?: boolean;
}

/** Ends a machine: its jobs are waited for, or go back to the queue at no cost. */
export async function end(ref: string, options: EndOptions, deps: LeverDeps): Promise<void> {
  const { api, terminal } = deps;
  const now = options.now === true;
  const reason = await reasonFor(options, deps);
  const machine = await calls.endMachine(api, ref, { reason, now });
  show([machine], options, terminal, ({ name, jobs }) => {
    const what = jobs === 1 ? "its job" : `its ${jobs} jobs`;
    const left = now ? `${what} go${jobs === 1 ? "es" : ""} back to the queue` : `after ${what}`;
    return `${name} is to end${jobs === 0 ? "" : ` (${left})`}`;
  });
}

function show(
  machines: readonly FleetMachineView[],
  { json }: LeverOptions,
  terminal: Terminal,
  toText: (machine: FleetMachineView) => string,
): void {
  for (const one of machines) terminal.line(json === true ? JSON.stringify(one) : toText(one));
}

/** Why: it is recorded beside who. Asked for where a person watches. */
async function reasonFor({ reason }: LeverOptions, { ask }: LeverDeps): Promise<string> {
  const given = (reason ?? (await ask("Why? (recorded) ")) ?? "").trim();
  if (given === "") {
    throw new CommandFailure(
      EXIT.refused,
      '--reason: expected why, in words, found nothing. It is recorded with who did it: --reason "new image fixes the start"',
    );
  }
  return checkedReason(given);
}

function checkedReason(given: string): string {
  if (given.length <= FLEET_REASON_MAX) return given;
  throw new CommandFailure(
    EXIT.refused,
    `--reason: expected at most ${FLEET_REASON_MAX} characters, found ${given.length}`,
  );
}
