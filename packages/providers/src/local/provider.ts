/**
 * Machines as processes of this host: each a process in a session and a folder of its own, which lives
 * on when the control plane ends. What is known of them is in their folders (`machine-record.ts`) and in
 * the host's table of processes, so that another control plane finds them: those among them that were
 * started and never written down, and those that were told to end and have not yet.
 *
 * When the process of a machine has ended, by itself or not, what it left running is ended too, as a
 * rented host would vanish with all that is in it.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { MachineOffer, MachineRequest, Provided, ProvidedMachine } from "@holdfast/fleet";
import { NO_FAILPOINTS, type Clock, type Failpoints } from "@holdfast/runtime";
import { checkedLabel, isName, type FleetLabel } from "../label.ts";
import type { MachineProvider } from "../port.ts";
import { ok, requestTrouble, throwIfAborted, trouble } from "../provided.ts";
import { createTurns } from "../turns.ts";
import { hostFindings } from "./check-host.ts";
import { machineEnv, markOf } from "./machine-env.ts";
import { LOG_FILE } from "./machine-log.ts";
import {
  claimRecord,
  machineFolder,
  readRecord,
  readRecords,
  type MachineRecord,
} from "./machine-record.ts";
import { isSystemError, LOCAL_OFFER, LocalMachines, START_MS_MAX, toMachine } from "./machines.ts";
import type { LocalSettings } from "./settings.ts";
import { startProcess } from "./start-process.ts";

/** What it is made of. */
export interface LocalProviderOptions {
  readonly settings: LocalSettings;
  readonly label: FleetLabel;
  readonly clock: Clock;
  /** Machines that the pool may have: there is room for them when the settings do not say. */
  readonly poolMax: number;
  /** Where the machines' folders are when the settings do not say. Absolute. */
  readonly defaultRoot: string;
  /** What is started when the settings do not say, one word an entry: how this program starts its agent. */
  readonly defaultCommand: readonly string[];
  /** PATH, HOME and what else programs need; nothing else of this process's environment is passed on. */
  readonly baseEnv: Readonly<Record<string, string>>;
  /** `local.claimed`: between record and process; `local.started`: between process and record. */
  readonly failpoints?: Failpoints;
}

const MB = 1024 * 1024;
/** Room of our own is free as soon as a machine has ended: asked again then, not ever more seldom. */
const ROOM_RETRY_MS = 10_000;

/** Makes a provider; nothing is read or written before its first call. */
export function createLocalProvider(options: LocalProviderOptions): MachineProvider {
  return new LocalProvider(options);
}

class LocalProvider implements MachineProvider {
  readonly kind = "local";
  readonly offers = [LOCAL_OFFER];
  readonly #label;
  readonly #clock;
  readonly #baseEnv;
  readonly #failpoints;
  readonly #root;
  readonly #maxMachines;
  readonly #command;
  readonly #machines;
  readonly #turns = createTurns();

  constructor(options: LocalProviderOptions) {
    this.#label = checkedLabel(options.label);
    this.#clock = options.clock;
    this.#baseEnv = options.baseEnv;
    this.#failpoints = options.failpoints ?? NO_FAILPOINTS;
    this.#root = options.settings.root ?? options.defaultRoot;
    this.#maxMachines = options.settings.maxMachines ?? options.poolMax;
    this.#command = options.settings.command ?? options.defaultCommand;
    const { graceSeconds, logMaxMb, keepEnded } = options.settings;
    const limits = { graceMs: graceSeconds * 1_000, logMaxBytes: logMaxMb * MB, keepEnded };
    this.#machines = new LocalMachines(this.#root, options.clock, limits);
  }

  async list(signal: AbortSignal): Promise<Provided<readonly ProvidedMachine[]>> {
    throwIfAborted(signal);
    return await diskTrouble("the machines cannot be listed", false, async () => {
      const records = (await readRecords(this.#root)).filter((one) => this.#isOurs(one));
      const machines: ProvidedMachine[] = [];
      for (const record of records) machines.push(await this.#machines.look(record, signal));
      throwIfAborted(signal);
      this.#machines.removeOutdated(records);
      return ok(machines);
    });
  }

  async create(request: MachineRequest, signal: AbortSignal): Promise<Provided<ProvidedMachine>> {
    throwIfAborted(signal);
    const refused = requestTrouble(request) ?? offerTrouble(request.offer);
    if (refused !== undefined) return refused;
    return await this.#turns.take("machines", () => this.#createOnce(request, signal));
  }

  async terminate(ref: string, signal: AbortSignal): Promise<Provided<null>> {
    throwIfAborted(signal);
    if (!isName(ref)) return ok(null);
    const what = `the machine ${ref} could not be told to end`;
    // Not while it is being started.
    return await this.#turns.take("machines", () =>
      diskTrouble(what, false, async () => {
        throwIfAborted(signal);
        const record = await readRecord(this.#root, ref);
        if (record === undefined) return ok(null);
        if (!this.#isOurs(record)) {
          return trouble("invalid", `${what}: it is no machine of this pool`);
        }
        await this.#machines.beginEnding(record);
        return ok(null);
      }),
    );
  }

  async check(signal: AbortSignal): Promise<Provided<readonly string[]>> {
    throwIfAborted(signal);
    const [program = ""] = this.#command;
    const searchPath = this.#baseEnv["PATH"] ?? "";
    return ok(await hostFindings({ root: this.#root, program, searchPath }));
  }

  close(): Promise<void> {
    return this.#machines.close();
  }

  async #createOnce(
    request: MachineRequest,
    signal: AbortSignal,
  ): Promise<Provided<ProvidedMachine>> {
    throwIfAborted(signal);
    const { name } = request;
    const what = `the machine ${name} could not be started`;
    const before = await diskTrouble(what, false, async () => {
      const record = await readRecord(this.#root, name);
      if (record !== undefined) return await this.#sameName(record, signal);
      const listed = await this.list(signal);
      if (listed.kind === "trouble") return listed;
      return this.#roomTrouble(what, listed.value) ?? ok(null);
    });
    if (before.kind === "trouble") return before;
    if (before.value !== null) return ok(before.value);
    // From here on a machine may be there, whatever the disk does.
    return await diskTrouble(what, true, () => this.#start(request, what, signal));
  }

  #roomTrouble(
    what: string,
    listed: readonly ProvidedMachine[],
  ): ReturnType<typeof trouble> | undefined {
    const maxMachines = this.#maxMachines;
    const living = listed.filter(({ state }) => state !== "ended");
    if (living.length < maxMachines) return undefined;
    const ending = living.filter(({ state }) => state === "ending").length;
    const some = ending === 0 ? "" : `, ${ending} of them end`;
    const words = `${living.length} machines are there${some}, and \`maxMachines\` is ${maxMachines}`;
    // Where one ends there is room soon: it is waited for.
    return trouble(ending > 0 ? "rate_limited" : "capacity", `${what}: ${words}`, {
      retryAfterMs: ROOM_RETRY_MS,
    });
  }

  /** The name was used before: it is that machine, or somebody else's. */
  async #sameName(record: MachineRecord, signal: AbortSignal): Promise<Provided<ProvidedMachine>> {
    if (this.#isOurs(record)) return ok(await this.#machines.look(record, signal));
    return trouble("invalid", `the name ${record.name} is that of another pool's machine`);
  }

  async #start(
    request: MachineRequest,
    what: string,
    signal: AbortSignal,
  ): Promise<Provided<ProvidedMachine>> {
    const { name } = request;
    const record = this.#newRecord(name);
    if (!(await claimRecord(this.#root, record))) {
      const other = await readRecord(this.#root, name);
      if (other !== undefined) return await this.#sameName(other, signal);
      return trouble("unavailable", `${what}: its folder holds a record that cannot be read`);
    }
    await this.#failpoints.hit("local.claimed");
    const folder = machineFolder(this.#root, name);
    const started = await startProcess({
      command: this.#command,
      folder,
      env: machineEnv({
        base: this.#baseEnv,
        request: request.env,
        label: this.#label,
        folder,
        mark: record.mark,
      }),
      logFile: join(folder, LOG_FILE),
      onExit: (how) => this.#machines.exited(name, how),
    });
    await this.#failpoints.hit("local.started");
    if (started.kind === "failed") {
      await rm(folder, { recursive: true, force: true });
      return failedStart(started.code, this.#command[0] ?? "", what);
    }
    if (started.kind === "ended") return ok(await this.#machines.afterMain(record, signal));
    const main = { pid: started.pid, startTime: started.startTime };
    const saved = await this.#machines.change(name, (one) => ({ ...one, main }));
    // Another control plane has given it up meanwhile: nobody would look after it.
    if (saved === undefined || saved.ended !== null) {
      await this.#machines.end({ ...record, main }, 0);
      return trouble("unavailable", `${what}: it took longer than ${START_MS_MAX / 1_000} s`);
    }
    return ok(toMachine(saved, "running", null));
  }

  #newRecord(name: string): MachineRecord {
    const createdAt = this.#clock.now();
    return {
      version: 1,
      name,
      fleet: this.#label.fleet,
      pool: this.#label.pool,
      mark: markOf(machineFolder(this.#root, name), createdAt),
      createdAt,
      main: null,
      endingSince: null,
      wasTold: false,
      ended: null,
    };
  }

  #isOurs(record: MachineRecord): boolean {
    return record.fleet === this.#label.fleet && record.pool === this.#label.pool;
  }
}

function offerTrouble(offer: MachineOffer): ReturnType<typeof trouble> | undefined {
  const { gpuType, zone, isSpot } = offer;
  if (gpuType === null && zone === null && !isSpot) return undefined;
  const words = "expected neither GPU type nor zone nor spot";
  return trouble("invalid", `${words}: this host is the only machine there is`);
}

/** No such program, or none that may be run: nothing helps but a person. */
const WRONG_COMMAND: ReadonlySet<string> = new Set([
  "EACCES",
  "ENOENT",
  "ENOEXEC",
  "ENOTDIR",
  "EPERM",
]);

function failedStart(code: string, program: string, what: string): ReturnType<typeof trouble> {
  if (WRONG_COMMAND.has(code)) {
    const words = `${program} cannot be run (${code}): check \`command\``;
    return trouble("invalid", `${what}: ${words}`);
  }
  return trouble("unavailable", `${what}: this host made no process (${code})`);
}

/** Runs what reads and writes folders; the system's errors are trouble, all others are bugs or aborts. */
async function diskTrouble<T>(
  what: string,
  mayHaveHappened: boolean,
  run: () => Promise<Provided<T>>,
): Promise<Provided<T>> {
  try {
    return await run();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    const place = error.path === undefined ? "" : ` at ${error.path}`;
    const words = `${what}: ${error.code}${place}`;
    return trouble("unavailable", words, { mayHaveHappened });
  }
}
