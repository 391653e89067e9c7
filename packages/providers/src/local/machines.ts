/**
 * The machines in a folder: what each is now by its record and its processes, and their ends. An end
 * that was begun goes on in the background, and is taken up by the look of whoever comes next.
 */
import { join } from "node:path";
import type { MachineOffer, ProvidedMachine } from "@holdfast/fleet";
import type { Clock } from "@holdfast/runtime";
import { isSameProcess } from "@holdfast/runtime/host";
import { createTurns } from "../turns.ts";
import { endMachine } from "./end-machine.ts";
import { createHostProcesses, leftOf } from "./host-processes.ts";
import { limitLog, LOG_FILE } from "./machine-log.ts";
import { changeRecord, machineFolder, type MachineRecord } from "./machine-record.ts";
import { outdated, removeFolders } from "./old-folders.ts";

/** There is one kind of machine: this host. */
export const LOCAL_OFFER: MachineOffer = { gpuType: null, zone: null, isSpot: false };

/** Without a process after this time, whoever claimed the name has ended before it was started. */
export const START_MS_MAX = 30_000;

/** What is kept, and how long is waited. */
export interface LocalLimits {
  readonly graceMs: number;
  readonly logMaxBytes: number;
  readonly keepEnded: number;
}

/** See the head of this file. */
export class LocalMachines {
  readonly #root: string;
  readonly #clock: Clock;
  readonly #limits: LocalLimits;
  readonly #host = createHostProcesses();
  readonly #turns = createTurns();
  /** How machines that were started here ended, until it is written down. */
  readonly #exits = new Map<string, string>();
  readonly #endings = new Map<string, Promise<void>>();
  /** Why an ending was given up; the next look begins it again. */
  readonly #endTroubles = new Map<string, string>();
  readonly #closing = new AbortController();
  #removal: Promise<void> | undefined;

  constructor(root: string, clock: Clock, limits: LocalLimits) {
    this.#root = root;
    this.#clock = clock;
    this.#limits = limits;
  }

  /** What a machine is now, after a look at its processes; what is seen is written down. */
  async look(record: MachineRecord, signal: AbortSignal): Promise<ProvidedMachine> {
    if (record.ended !== null) return toMachine(record, "ended", record.ended.reason);
    const { name } = record;
    const main = record.main ?? (await this.#findStarted(record));
    if (main === undefined) {
      const isYoung = this.#clock.now() - record.createdAt < START_MS_MAX;
      if (isYoung && record.endingSince === null) return toMachine(record, "pending", null);
      return await this.#ended(record, "it was never started: the control plane ended before");
    }
    const found = { ...record, main };
    if (await isSameProcess(main.pid, main.startTime ?? undefined)) {
      await limitLog(join(machineFolder(this.#root, name), LOG_FILE), this.#limits.logMaxBytes);
      const isEnding = found.endingSince !== null || this.#endings.has(name);
      if (!isEnding) return toMachine(found, "running", null);
      await this.beginEnding(found);
      return toMachine(found, "ending", this.#endTroubles.get(name) ?? "it was told to end");
    }
    // Whoever ends it knows what it started and hid; no look from outside finds that any more.
    if (this.#endings.has(name)) return toMachine(found, "ending", "what it started ends");
    return await this.afterMain(found, signal);
  }

  /** A machine whose own process has ended: so is what that left, before it counts as ended. */
  async afterMain(record: MachineRecord, signal: AbortSignal): Promise<ProvidedMachine> {
    const { name, mark } = record;
    const folder = machineFolder(this.#root, name);
    const left = await leftOf({ mark, folder }, this.#host, this.#clock, signal);
    if (left.length === 0) return await this.#ended(record, null);
    await this.beginEnding(record);
    const words = `it has ended, and ${left.length} processes that it started have not`;
    return toMachine(record, "ending", this.#endTroubles.get(name) ?? words);
  }

  /** The process of one whose control plane ended between start and record. */
  async #findStarted(
    record: MachineRecord,
  ): Promise<NonNullable<MachineRecord["main"]> | undefined> {
    const main = await this.#host.findMain(record.mark);
    if (main === undefined) return undefined;
    const saved = await this.change(record.name, (one) =>
      one.main === null ? { ...one, main } : one,
    );
    return saved?.main ?? main;
  }

  async #ended(record: MachineRecord, reason: string | null): Promise<ProvidedMachine> {
    const { name } = record;
    const how =
      reason ??
      this.#exits.get(name) ??
      (record.endingSince === null ? "it ended while nobody watched" : "it was told to end");
    const ended = { at: this.#clock.now(), reason: how };
    try {
      // A process that has turned up since the record was read: it is looked at the next time.
      const saved = await this.change(name, (one) =>
        record.main === null && one.main !== null ? one : { ...one, ended },
      );
      if (saved !== undefined && saved.ended === null) return toMachine(saved, "pending", null);
      this.#exits.delete(name);
      this.#endTroubles.delete(name);
      return toMachine(saved ?? record, "ended", saved?.ended?.reason ?? how);
    } catch (error) {
      // A full disk: it has ended all the same, and the next look writes it down.
      if (isSystemError(error)) return toMachine(record, "ended", how);
      throw error;
    }
  }

  /** Writes down that it is to end, and sees to it without being waited for. */
  async beginEnding(record: MachineRecord): Promise<void> {
    if (record.ended !== null || this.#endings.has(record.name)) return;
    const since = this.#clock.now();
    let saved: MachineRecord | undefined = { ...record, endingSince: record.endingSince ?? since };
    try {
      saved = await this.change(record.name, (one) =>
        one.endingSince === null ? { ...one, endingSince: since } : one,
      );
    } finally {
      // Also when it could not be written down: a full disk is no reason to let it run.
      if (saved !== undefined && saved.ended === null && !this.#endings.has(record.name)) {
        const goneMs = Math.max(0, since - (saved.endingSince ?? since));
        const ending = { ...saved, main: saved.main ?? record.main };
        const work = this.end(ending, Math.max(0, this.#limits.graceMs - goneMs));
        this.#endings.set(record.name, work);
      }
    }
  }

  /** Never rejects: what could not be ended is ending still, and the next list begins again. */
  async end(record: MachineRecord, graceMs: number): Promise<void> {
    const { name } = record;
    try {
      const isGone = await endMachine(record, {
        clock: this.#clock,
        host: this.#host,
        folder: machineFolder(this.#root, name),
        graceMs,
        signal: this.#closing.signal,
        onTold: async () => {
          try {
            await this.change(name, (one) => ({ ...one, wasTold: true }));
          } catch (error) {
            // A full disk: after a restart it would be told twice, which is better than never ended.
            if (!isSystemError(error)) throw error;
          }
        },
      });
      if (isGone) await this.#ended(record, null);
      else this.#endTroubles.set(name, "it does not end, not even by SIGKILL");
    } catch (error) {
      const words = error instanceof Error ? error.message : String(error);
      this.#endTroubles.set(name, `it could not be ended: ${words}`);
    } finally {
      this.#endings.delete(name);
    }
  }

  /** Changes a record as it is by now; one change of a machine at a time. */
  change(
    name: string,
    change: (record: MachineRecord) => MachineRecord,
  ): Promise<MachineRecord | undefined> {
    return this.#turns.take(`record ${name}`, () => changeRecord(this.#root, name, change));
  }

  /** One removal at a time; what it could not remove is tried again after the next list. */
  removeOutdated(records: readonly MachineRecord[]): void {
    const old = outdated(records, this.#limits.keepEnded);
    if (old.length === 0 || this.#removal !== undefined) return;
    this.#removal = removeFolders(this.#root, old, this.#closing.signal).then(
      () => void (this.#removal = undefined),
      () => void (this.#removal = undefined),
    );
  }

  /** To be told how the process of a machine ended that was started here. */
  exited(name: string, how: string): void {
    this.#exits.set(name, how);
  }

  /** Leaves what is in the background where it is. */
  async close(): Promise<void> {
    this.#closing.abort(new Error("the provider was closed"));
    await Promise.all([...this.#endings.values(), this.#removal]);
  }
}

/** A record as a machine. */
export function toMachine(
  record: MachineRecord,
  state: ProvidedMachine["state"],
  reason: string | null,
): ProvidedMachine {
  return {
    ref: record.name,
    name: record.name,
    state,
    reason,
    offer: LOCAL_OFFER,
    pricePerHour: null,
    address: "127.0.0.1",
    createdAt: record.createdAt,
  };
}

/** An error of the operating system, such as those of files: what it is about can be tried again. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  const isNamed = error instanceof Error && "code" in error && typeof error.code === "string";
  return isNamed && error.name !== "AbortError";
}
