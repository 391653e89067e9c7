/**
 * The cards of the machine: found, and looked at now and then. One word of the driver ends nothing: a fault
 * counts once two looks in a row have told of the card, the second one soon after the first.
 */
import type { AgentLog } from "@holdfast/agent";
import type { Clock } from "@holdfast/runtime";
import type { FoundGpu, GpuDiscovery, GpuFault, GpuReading, GpuQuery } from "@holdfast/gpu";
import type { GpuFacts } from "../health-server/model.ts";
import type { PlannedGpu } from "../instances/model.ts";

/** A card as the control plane is told of it. */
export interface ToldGpu {
  readonly index: number;
  readonly uuid: string;
  readonly name: string;
  readonly memoryTotalBytes: number | null;
  readonly driver: string | null;
  readonly fault: string | null;
}

/** What is made of it. */
export interface GpuWatchOptions {
  readonly query: GpuQuery;
  readonly clock: Clock;
  readonly log: AgentLog;
  /** Something that is told has changed. */
  readonly onChange: () => void;
  /** What was planned is out of date: cards were found, or asked for at all, that could not be before. */
  readonly onFound: () => void;
}

/** See the head of this file. */
export interface GpuWatch {
  /** Finds the cards anew. */
  discover(signal: AbortSignal): Promise<GpuDiscovery>;
  /**
   * Why nothing can be done on a card, and what to do; null when it can, as far as is known, or when only
   * one look has told of it. Cheap.
   */
  cardFault(gpu: Pick<PlannedGpu, "index" | "uuid">): string | null;
  /** For the health server; cheap. */
  facts(): readonly GpuFacts[];
  /** For the control plane; cheap. */
  told(): readonly ToldGpu[];
  /** What runs on a card comes to its end there: it is well, or has a fault with which it works on. Cheap. */
  runsOn(gpu: { readonly index: number; readonly uuid: string | null }): boolean;
  /** Looks at the cards until the signal is aborted; never rejects. */
  run(signal: AbortSignal): Promise<void>;
}

/** One program each time: half a second of a core with many cards. */
const EVERY_MS = 60_000;
/** After the first look that could not tell all; twice as long after each further one. */
const RETRY_MS = 5_000;
/** After the first look that told of a fault: short enough for whoever runs on a card that is ill. */
const AGAIN_MS = 5_000;
/** Two looks that are closer are one: whoever plans asks at any time. */
const APART_MS = 3_000;
const PERCENT = 100;
/** Faults that keep from a start, and with which a card may go on with what runs on it. */
const RUNS_ON: ReadonlySet<GpuFault["kind"]> = new Set<GpuFault["kind"]>([
  "needs_reset",
  "missing",
  "no_uuid",
  "mig_without_devices",
  "needs_drain",
]);

/** Makes it; nothing is asked before `discover` or `run`. */
export function createGpuWatch(options: GpuWatchOptions): GpuWatch {
  return new CardWatch(options);
}

class CardWatch implements GpuWatch {
  readonly #options: GpuWatchOptions;
  #discovery: GpuDiscovery | undefined;
  /** Every card that was ever found, as it was last: one that is lost is told of on. */
  #cards: readonly FoundGpu[] = [];
  #readings: readonly GpuReading[] = [];
  #faults: readonly GpuFault[] = [];
  /** Since when each card of {@link #faults} on which nothing can be done is told of, by index or UUID. */
  #illSince: ReadonlyMap<number | string | null, number> = new Map();
  /** Those of two looks. */
  #confirmed: readonly GpuFault[] = [];
  /** Cards that have told something of themselves. */
  readonly #answered = new Set<number>();
  /** What whoever planned last was told; undefined before anybody did. */
  #plannedFor: GpuDiscovery | undefined;
  /** Why the last look told nothing; null when it did. */
  #blind: string | null = null;
  #told = "";

  constructor(options: GpuWatchOptions) {
    this.#options = options;
  }

  async discover(signal: AbortSignal): Promise<GpuDiscovery> {
    const found = await this.#discover(signal);
    this.#plannedFor = found;
    return found;
  }

  async #discover(signal: AbortSignal): Promise<GpuDiscovery> {
    const { query, log } = this.#options;
    const found = await query.discover(signal, this.#expected());
    const before = this.#discovery;
    const { failure } = found;
    if (failure !== null && !failure.isNoGpu && failure.reason !== this.#blind) {
      const { reason, advice } = failure;
      log.error({ reason, advice }, "cards could not be found");
    }
    this.#blind = failure?.reason ?? null;
    // A program that tells of nothing has not taken the cards away: nobody's instance ends for it.
    if (before !== undefined && before.gpus.length > 0 && isSilent(found)) return before;
    this.#discovery = found;
    if (failure === null) {
      const well = found.gpus.filter((card) =>
        found.faults.every((one) => one.index !== card.index),
      );
      for (const { index } of well) this.#answered.add(index);
    }
    this.#note(found.faults);
    const others = this.#cards.filter(({ index }) =>
      found.gpus.every((one) => one.index !== index),
    );
    this.#cards = [...others, ...found.gpus].toSorted((one, other) => one.index - other.index);
    this.#tell();
    return found;
  }

  cardFault({ index, uuid }: Pick<PlannedGpu, "index" | "uuid">): string | null {
    // That one is not told of may be the driver's trouble, and ends nothing.
    const fault = this.#confirmed.find(
      (one) =>
        one.kind !== "missing" && (one.index === index || (uuid !== null && one.uuid === uuid)),
    );
    return fault === undefined ? null : `${fault.reason}. ${fault.advice}`;
  }

  facts(): readonly GpuFacts[] {
    return this.#cards.map((gpu) => {
      const reading = this.#readingOf(gpu.index);
      const utilization = reading?.utilizationPercent ?? null;
      return {
        index: gpu.index,
        uuid: gpu.uuid,
        name: gpu.name,
        health: this.#faultOf(gpu)?.reason ?? "ok",
        memoryTotalBytes: reading?.memoryTotalBytes ?? memoryOf(gpu),
        memoryUsedBytes: reading?.memoryUsedBytes ?? null,
        utilization: utilization === null ? null : utilization / PERCENT,
        temperatureCelsius: reading?.temperatureC ?? null,
      };
    });
  }

  told(): readonly ToldGpu[] {
    return this.#cards.map((gpu) => ({
      index: gpu.index,
      uuid: gpu.uuid,
      name: gpu.name,
      memoryTotalBytes: this.#readingOf(gpu.index)?.memoryTotalBytes ?? memoryOf(gpu),
      driver: this.#discovery?.driverVersion ?? null,
      fault: this.#faultOf(gpu)?.reason ?? null,
    }));
  }

  runsOn({ index, uuid }: { readonly index: number; readonly uuid: string | null }): boolean {
    return this.#faults
      .filter((one) => one.index === index || (uuid !== null && one.uuid === uuid))
      .every(({ kind }) => RUNS_ON.has(kind));
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    let retryMs = RETRY_MS;
    while (!signal.aborted) {
      try {
        await this.#look(signal);
      } catch (err) {
        if (!signal.aborted) log.warn({ err }, "cards could not be looked at");
      }
      const isBlind = isCutOff(this.#discovery);
      const isUnsure = this.#confirmed.length < this.#illSince.size;
      const pauseMs = isUnsure ? AGAIN_MS : isBlind ? retryMs : EVERY_MS;
      await clock.sleep(pauseMs, signal).catch(() => undefined);
      retryMs = isBlind ? Math.min(retryMs * 2, EVERY_MS) : RETRY_MS;
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const before = this.#discovery;
    if (this.#cards.length > 0) await this.#sample(signal);
    // A driver may come after this program, and a card be mended.
    if (before !== undefined && before.failure === null && !this.#isMended(before)) return;
    const found = await this.#discover(signal);
    const planned = this.#plannedFor;
    if (planned === undefined) return;
    const isTold = isCutOff(planned) && !isCutOff(found);
    const isMended = isAnyGone(planned.faults, found.faults);
    if (isTold || isMended || devicesOf(found) > devicesOf(planned)) this.#options.onFound();
  }

  /** A card that nothing could be started on has no fault any more, as far as a look can tell. */
  #isMended({ gpus, faults }: GpuDiscovery): boolean {
    const isNew = this.#readings.some(({ index }) => gpus.every((one) => one.index !== index));
    return isNew || isAnyGone(faults, this.#faults);
  }

  async #sample(signal: AbortSignal): Promise<void> {
    const { query, log } = this.#options;
    const { readings, faults, failure } = await query.sample(signal, this.#expected());
    this.#readings = readings;
    if (failure === null) {
      this.#blind = null;
      for (const { index, fault } of readings)
        if (fault !== "unreadable") this.#answered.add(index);
      this.#note(faults);
    } else if (failure.reason !== this.#blind) {
      // A program that hangs says nothing of the cards: what was wrong with one still is.
      this.#blind = failure.reason;
      log.warn({ reason: failure.reason }, "cards could not be looked at");
    }
    this.#tell();
  }

  /** Takes in what a look told of all cards. */
  #note(faults: readonly GpuFault[]): void {
    const now = this.#options.clock.elapsed();
    // One that has answered until now, and gives errors alone, is off the bus in other words.
    this.#faults = faults.map((fault) =>
      fault.kind === "unreadable" && this.#answered.has(fault.index ?? -1)
        ? { ...fault, isUsable: false }
        : fault,
    );
    const ill = this.#faults.filter(({ isUsable }) => !isUsable);
    this.#illSince = new Map(
      ill.map((fault) => [keyOf(fault), this.#illSince.get(keyOf(fault)) ?? now]),
    );
    this.#confirmed = ill.filter(
      (fault) => now - (this.#illSince.get(keyOf(fault)) ?? now) >= APART_MS,
    );
  }

  #expected(): readonly number[] {
    return this.#cards.map(({ index }) => index);
  }

  #tell(): void {
    const { log, onChange } = this.#options;
    const cards = this.#cards.map(({ uuid }) => uuid);
    const ill = this.#faults.map(({ kind, index, uuid }) => `${kind} ${index} ${uuid}`);
    const text = [...cards, "", ...ill].join("\n");
    if (text === this.#told) return;
    const before = this.#told.split("\n");
    this.#told = text;
    for (const [at, { index, reason, advice }] of this.#faults.entries()) {
      if (before.includes(ill[at] ?? "")) continue;
      log.error({ gpu: index, reason, advice }, "card has a fault");
    }
    onChange();
  }

  #readingOf(index: number): GpuReading | undefined {
    return this.#readings.find((one) => one.index === index);
  }

  #faultOf({ index, uuid }: FoundGpu): GpuFault | undefined {
    return this.#faults.find((one) => one.index === index || one.uuid === uuid);
  }
}

function keyOf({ index, uuid }: GpuFault): number | string | null {
  return index ?? uuid;
}

/** Nothing was told of any card, not even that it is ill. */
function isSilent({ gpus, faults, failure }: GpuDiscovery): boolean {
  return failure !== null && gpus.length === 0 && faults.every(({ kind }) => kind === "missing");
}

/** Not all cards could be asked for. */
function isCutOff(found: GpuDiscovery | undefined): boolean {
  const failure = found?.failure ?? null;
  return failure !== null && !failure.isNoGpu;
}

/** A card on which nothing could be done has no such fault any more; those without an index are one. */
function isAnyGone(before: readonly GpuFault[], now: readonly GpuFault[]): boolean {
  const ill = now.filter(({ isUsable }) => !isUsable);
  return before.some(({ index, isUsable }) => !isUsable && ill.every((one) => one.index !== index));
}

function devicesOf({ gpus }: GpuDiscovery): number {
  return gpus.reduce((sum, { devices }) => sum + devices.length, 0);
}

function memoryOf({ devices }: FoundGpu): number | null {
  const [only] = devices;
  return devices.length === 1 ? (only?.gpu.memoryTotalBytes ?? null) : null;
}
