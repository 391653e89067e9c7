/**
 * A process of the manifest, run by the process manager: started when what it needs is healthy, started
 * again when it ends, left alone when it does nothing but end. Looking is cheap: whether the pid lives
 * is asked every two seconds, the manager only when it does not, and once a minute.
 */
import { join } from "node:path";
import type { AgentLog } from "@holdfast/agent";
import { abortReason, backoffMs, type Clock, type Random, type Service } from "@holdfast/runtime";
import type { ExtraService } from "../manifest/model.ts";
import type { ManagedProcess, ProcessManager, ProcessSpec } from "../process-manager/model.ts";
import { NO_CHECK, NOTHING_INSTALLED } from "./fixed-facts.ts";
import type { HttpCheck } from "./http-check.ts";
import type { InstallationStatus, RuntimeStatus, ServiceSource, ServiceState } from "./model.ts";
import {
  decideStart,
  noteEnd,
  noteFailedStart,
  noteRunning,
  RESTART_RULES,
  UNSTARTED,
  type ProcessMemory,
} from "./process-decision.ts";
import type { ProcessHost } from "./process-host.ts";
import {
  isFromSpec,
  logFilesOf,
  tellEnd,
  toProcessSpec,
  type ProcessPart,
} from "./process-spec.ts";
import { timeLimit } from "./time-limit.ts";

/** What all process services of a machine share. */
export interface ProcessServicePorts {
  readonly manager: ProcessManager;
  readonly host: ProcessHost;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  /** Each service's logs are in a folder by its name below it. */
  readonly folder: string;
  /** What every process is given beside its own environment: `PATH`, `HOME`, … */
  readonly baseEnv: Readonly<Record<string, string>>;
  /** How a service is that this one needs; undefined for one that nobody knows. */
  readonly stateOf: (name: string) => ServiceState | undefined;
  /** Something about a service changed. Must not wait. */
  readonly onChange: () => void;
}

/** Which process. */
export interface ProcessServiceOptions extends ProcessServicePorts {
  readonly service: Pick<ExtraService, "name" | "dependsOn">;
  readonly process: ProcessPart;
  /** Looks at it while it runs; null: running is enough. */
  readonly check: HttpCheck | null;
}

/** A process as a service. `stop` ends the process. */
export interface ProcessService extends Service {
  readonly source: ServiceSource;
  /** Ends looking, and leaves the process running for the next agent. */
  letGo(): Promise<void>;
}

const LOOK_EVERY_MS = 2_000;
/** The manager is asked this often though nothing seems to have changed. */
const LIST_EVERY_MS = 60_000;
/** What stopping may take beyond the time that the process itself has. */
const REMOVE_MARGIN_MS = 15_000;
const MS_PER_SECOND = 1_000;

/** The process that runs, as far as is known. */
interface Running {
  readonly pid: number;
  readonly hostStartTime: string | undefined;
  readonly startedAt: number;
}

/** Makes the service; nothing runs before `start`. */
export function createProcessService(options: ProcessServiceOptions): ProcessService {
  return new ManagedService(options);
}

class ManagedService implements ProcessService {
  readonly name: string;
  readonly source: ServiceSource;
  readonly #options: ProcessServiceOptions;
  #memory: ProcessMemory = UNSTARTED;
  #running: Running | null = null;
  #installation: InstallationStatus = NOTHING_INSTALLED;
  #state: RuntimeStatus["state"] = "stopped";
  #detail: string | null = "not started yet";
  #starts = 0;
  #listedAt: number | null = null;
  #stopping = new AbortController();
  #loop: Promise<void> | undefined;

  constructor(options: ProcessServiceOptions) {
    const { service, process, folder } = options;
    this.name = service.name;
    this.#options = options;
    const files = logFilesOf(folder, service.name);
    this.source = {
      name: service.name,
      kind: "process",
      dependsOn: service.dependsOn,
      facts: () => ({
        isConfigured: true,
        installation: this.#installation,
        runtime: this.#runtime(),
        check: options.check?.status() ?? NO_CHECK,
      }),
      // Not its arguments: they are where passwords stand.
      details: () => ({ command: process.command[0] }),
      logFiles: () => [files.outFile, files.errorFile],
    };
  }

  async start(): Promise<void> {
    if (this.#loop !== undefined) return;
    this.#stopping = new AbortController();
    this.#loop = this.#run(this.#stopping.signal);
  }

  async letGo(): Promise<void> {
    this.#stopping.abort(new Error("stopping"));
    await this.#loop;
    this.#loop = undefined;
    await this.#options.check?.stop();
  }

  async stop(): Promise<void> {
    const wasStarted = this.#loop !== undefined;
    await this.letGo();
    if (!wasStarted) return;
    const { manager, process, clock } = this.#options;
    this.#become("stopping", "asked to end");
    const limit = timeLimit(clock, process.stopTimeoutSec * MS_PER_SECOND + REMOVE_MARGIN_MS);
    try {
      await manager.remove(this.name, limit.signal);
    } catch (error) {
      this.#become("running", `could not be stopped: ${messageOf(error)}`);
      throw new Error(`${this.name} could not be stopped: ${messageOf(error)}`, { cause: error });
    } finally {
      await limit.end();
    }
    this.#running = null;
    this.#memory = UNSTARTED;
    this.#become("stopped", "stopped with the agent");
  }

  #runtime(): RuntimeStatus {
    return {
      state: this.#state,
      pid: this.#running?.pid ?? null,
      startedAt: this.#running?.startedAt ?? null,
      restarts: Math.max(0, this.#starts - 1),
      detail: this.#detail,
    };
  }

  #become(state: RuntimeStatus["state"], detail: string | null): void {
    const isNew = state !== this.#state || detail !== this.#detail;
    this.#state = state;
    this.#detail = detail;
    if (isNew) this.#options.onChange();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#options;
    let failures = 0;
    while (!signal.aborted) {
      try {
        await this.#tick(signal);
        failures = 0;
      } catch (err) {
        if (signal.aborted) return;
        failures += 1;
        log.warn({ err, service: this.name, failures }, "process manager fails, trying again");
        // What was seen to run is still believed to: its pid is looked at again.
        if (this.#running === null) {
          this.#become("stopped", `the process manager fails: ${messageOf(err)}`);
        }
      }
      const backoff = failures === 0 ? 0 : backoffMs(RESTART_RULES.backoff, failures, random);
      await clock.sleep(Math.max(LOOK_EVERY_MS, backoff), signal).catch(() => undefined);
    }
  }

  async #tick(signal: AbortSignal): Promise<void> {
    const { clock, host, service, stateOf } = this.#options;
    const isAlive =
      this.#running !== null && (await host.isSame(this.#running.pid, this.#running.hostStartTime));
    const isDue = this.#listedAt === null || clock.elapsed() - this.#listedAt >= LIST_EVERY_MS;
    if (isDue || (this.#running !== null && !isAlive)) await this.#look(isAlive, signal);
    if (this.#running !== null) return;
    const blockedBy = service.dependsOn.flatMap((name) => {
      const state = stateOf(name) ?? "not_configured";
      return state === "healthy" ? [] : [`${name} (${state})`];
    });
    const decided = decideStart(this.#memory, blockedBy, clock.elapsed(), RESTART_RULES);
    if (decided.kind === "start") await this.#startProcess(signal);
    else if (decided.kind === "wait") this.#become("stopped", decided.reason);
    else this.#become("crash_loop", decided.reason);
  }

  /** Asks the manager, and takes what it says for the truth. */
  async #look(isAlive: boolean, signal: AbortSignal): Promise<void> {
    const { clock, manager, random, process } = this.#options;
    if (this.#listedAt === null) await manager.ensureReady(signal);
    const found = (await manager.list(signal)).find(({ name }) => name === this.name);
    this.#listedAt = clock.elapsed();
    const before = this.#running;
    if (found !== undefined && isFromSpec(found, this.#spec("").digest)) {
      const hasMoved = before !== null && before.pid !== found.pid;
      // The manager may not have seen yet what we saw: a pid that is dead does not run.
      const isDead = before !== null && !hasMoved && !isAlive;
      if (!isDead) {
        if (before === null || hasMoved) await this.#adopt(found);
        return;
      }
    }
    if (before === null) return;
    if (isAlive) {
      // The manager was killed and knows nothing of it any more: it would hold its port for ever.
      await this.#options.host.end(before.pid, process.stopTimeoutSec * MS_PER_SECOND);
    }
    const how = isAlive ? "ended, for the process manager had lost it" : tellEnd(found);
    this.#running = null;
    await this.#options.check?.stop();
    this.#memory = noteEnd(this.#memory, how, clock.elapsed(), RESTART_RULES, random);
    this.#options.log.warn({ service: this.name, pid: before.pid, how }, "service process ended");
  }

  async #startProcess(signal: AbortSignal): Promise<void> {
    const { clock, manager, host, process, folder, log } = this.#options;
    const command = await host.findCommand(process.command[0] ?? "", process.cwd ?? folder);
    if (command.kind === "missing") {
      this.#installation = { state: "missing", detail: command.reason, version: null };
      this.#become("stopped", command.reason);
      return;
    }
    this.#installation = NOTHING_INSTALLED;
    this.#become("starting", this.#memory.lastTrouble);
    const startedAt = clock.elapsed();
    try {
      const spec = this.#spec(command.path);
      await host.makeFolder(join(folder, this.name));
      await manager.ensureReady(signal);
      const started = await manager.start(spec, signal);
      if (started.pid === null) throw new Error(`it is ${started.state} right after its start`);
      await this.#adopt(started);
      log.info({ service: this.name, pid: started.pid }, "service process started");
    } catch (err) {
      if (signal.aborted) throw abortReason(signal);
      log.warn({ err, service: this.name }, "service process could not be started");
      this.#failedStart(`could not be started: ${messageOf(err)}`, startedAt);
    }
  }

  #failedStart(why: string, now: number): void {
    const { random } = this.#options;
    this.#memory = noteFailedStart(this.#memory, why, now, RESTART_RULES, random);
    this.#become("stopped", why);
  }

  /** Takes a process for the one that runs. */
  async #adopt(found: ManagedProcess): Promise<void> {
    const { clock, host, check } = this.#options;
    if (found.pid === null) return;
    const hostStartTime = await host.startTime(found.pid);
    this.#running = {
      pid: found.pid,
      hostStartTime,
      startedAt: found.startedAt ?? clock.now(),
    };
    this.#starts += 1;
    this.#memory = noteRunning(this.#memory, clock.elapsed());
    await check?.stop();
    await check?.start();
    this.#become("running", null);
  }

  #spec(command: string): ProcessSpec {
    const { process, folder, baseEnv } = this.#options;
    return toProcessSpec(this.name, process, { command, folder, baseEnv });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
