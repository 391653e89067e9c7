/**
 * Runs one simulation from a seed: builds a fleet, lets callers submit and faults strike, mends
 * everything, waits until every job has ended, and holds the promises against it all the way.
 */
import { createHash } from "node:crypto";
import { DEFAULT_LIMITS } from "@holdfast/agent";
import { nextInt, seededRandom } from "@holdfast/runtime";
import { DEFAULT_MODELS } from "@holdfast/simulator";
import { startCaller, type SimCaller } from "./caller.ts";
import { createComfyWorld, type ComfySpec } from "./comfy.ts";
import {
  createSimDatabase,
  type SimDatabase,
  type SimTemplate,
  type StatementEdits,
} from "./database.ts";
import {
  calm,
  planFaults,
  strike,
  type FaultKind,
  type PlannedFault,
  type World,
} from "./faults.ts";
import { READ_CHANGES, type Change } from "./journal.ts";
import { createLedger, type Ledger, type Violation } from "./ledger.ts";
import { createMachine, type MachineOptions } from "./machine.ts";
import { createNetwork } from "./network.ts";
import { checkErrorCounts } from "./error-counts.ts";
import { createOperator } from "./operator.ts";
import { createStopper } from "./stopper.ts";
import { createProcess, EPOCH_MS, type Skew } from "./process.ts";
import { createReplica, type Replica } from "./replica.ts";
import { createStore } from "./store.ts";
import { createTimeline } from "./timeline.ts";
import { createTrace, type Trace } from "./trace.ts";
import { checkDisks, checkEnd, checkPictures, checkTick } from "./upkeep.ts";
import { inputPicture } from "./pictures.ts";
import { INPUT_NAME, planJobs, RARE_MODEL, type PlannedJob } from "./workload.ts";

/** How to run a simulation. */
export interface SimulationOptions {
  readonly seed: number;
  readonly serverUrl: string;
  readonly template: SimTemplate;
  /** Guards taken out of statements, for a twin. */
  readonly edits?: StatementEdits;
  /** Other things taken out, for a twin. */
  readonly sabotage?: (world: World) => void;
  /** Only these kinds of faults, as planned by the seed. */
  readonly only?: readonly FaultKind[];
  /** What the machines' agents are given besides. */
  readonly machines?: Pick<MachineOptions, "agentOptions" | "onStart">;
  /** Sees every line of the trace as it comes. */
  readonly onLine?: (line: string) => void;
}

/** What a simulation came to. */
export interface SimulationResult {
  readonly seed: number;
  readonly violations: readonly Violation[];
  /** Of the trace: equal for two runs of one seed. */
  readonly digest: string;
  readonly lines: number;
  readonly simulatedMs: number;
  readonly statements: number;
  /** How many jobs ended how: by state, poison apart. */
  readonly ends: Readonly<Record<string, number>>;
  /** How many attempts ended how, those taken up again after a lost lease counted apart. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly faults: readonly string[];
  readonly tail: readonly string[];
}

const TICK_MS = 1_000;
/** How far clocks may be apart, and how much of a millisecond they may gain or lose in one. */
const SKEW_MS = 20 * 60_000;
const DRIFT = 0.04;
/** After everything is mended, all jobs end within this time. */
const RECOVERY_MS = 30 * 60_000;
/** And everything is tidied up within this. */
const TIDY_MS = 4 * 60_000;

/** See the header. Resolves also when promises were broken: they are in the result. */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const master = seededRandom(options.seed);
  const fork = (): number => Math.floor(master.next() * 2 ** 32);
  const timeline = createTimeline();
  const trace = createTrace(timeline, options.onLine);
  const database = await createSimDatabase(
    options.serverUrl,
    options.template,
    timeline,
    trace,
    options.edits,
  );
  try {
    const run = new Run(options, { fork, timeline, trace, database });
    return await run.play();
  } finally {
    await database.close();
  }
}

interface Ground {
  readonly fork: () => number;
  readonly timeline: World["timeline"];
  readonly trace: Trace;
  readonly database: SimDatabase;
}

class Run {
  readonly #options: SimulationOptions;
  readonly #ground: Ground;
  readonly #world: World;
  readonly #ledger: Ledger;
  readonly #violations: Violation[] = [];
  readonly #faults: readonly PlannedFault[];
  readonly #struck: string[] = [];
  readonly #jobs: readonly PlannedJob[];
  readonly #activeMs: number;
  readonly #seen = new Set<number>();
  #caller: SimCaller | undefined;
  #safeSeq = 0;

  constructor(options: SimulationOptions, ground: Ground) {
    this.#options = options;
    this.#ground = ground;
    const { fork, timeline, trace, database } = ground;
    const shape = seededRandom(fork());
    const store = createStore();
    this.#ledger = createLedger((sha256) => store.blobs.get(sha256)?.length);
    const network = createNetwork(timeline, trace);
    const outside = createProcess(timeline, "world");
    // Half of the fleets have clocks that are right; in the others all differ, and none keeps time.
    const isSkewed = shape.next() < 0.5;
    const skew = (): Skew => ({
      aheadMs: isSkewed ? (shape.next() - 0.5) * SKEW_MS : 0,
      rate: isSkewed ? 1 + (shape.next() - 0.5) * DRIFT : 1,
    });
    if (isSkewed) database.aheadMs = (shape.next() - 0.5) * SKEW_MS;
    const machineCount = 1 + nextInt(shape, 3);
    const specs = Array.from({ length: machineCount }, (_, index) =>
      Array.from({ length: 1 + nextInt(shape, 2) }, (__, gpu) => comfySpec(index, gpu, fork())),
    );
    const comfyWorld = createComfyWorld(timeline, trace, outside, specs.flat());
    const replicas: Replica[] = [];
    for (let index = 0; index < 1 + nextInt(shape, 2); index += 1) {
      const name = `replica-${index + 1}`;
      replicas.push(
        createReplica({
          name,
          seed: fork(),
          skew: skew(),
          timeline,
          trace,
          database,
          store,
          others: () => replicas.filter((other) => other.name !== name),
        }),
      );
    }
    const machines = specs.map((own, index) =>
      createMachine({
        name: `machine-${index + 1}`,
        seed: fork(),
        skew: skew(),
        timeline,
        trace,
        network,
        replicas,
        comfyWorld,
        comfys: comfyWorld.all.filter((comfy) => own.some((spec) => spec.url === comfy.url)),
        // All outputs of a few jobs: a full spool is something that happens.
        limits: { ...DEFAULT_LIMITS, spoolBytes: 64 * 1024, memoryOutputBytes: 256 },
        watch: {
          onUnfit: (what, problem) => this.#bad("wire", `${what}: ${problem}`),
          onReported: () => undefined,
        },
        ...options.machines,
      }),
    );
    const stopped: World["stopped"] = new Set();
    this.#world = {
      timeline,
      trace,
      network,
      database,
      store,
      comfyWorld,
      machines,
      replicas,
      stopped,
    };
    this.#activeMs = (30 + nextInt(shape, 90)) * 1_000;
    this.#jobs = planJobs(seededRandom(fork()), {
      count: 5 + nextInt(shape, 12),
      withinMs: this.#activeMs * 0.8,
      instances: comfyWorld.all.length,
    });
    const faults = planFaults(seededRandom(fork()), 1_000, this.#activeMs, () =>
      seededRandom(fork()),
    );
    const { only } = options;
    this.#faults = only === undefined ? faults : faults.filter(({ kind }) => only.includes(kind));
    options.sabotage?.(this.#world);
  }

  async play(): Promise<SimulationResult> {
    const { timeline } = this.#ground;
    const world = this.#world;
    await this.#seedInput();
    for (const replica of world.replicas) replica.start();
    for (const machine of world.machines) machine.start();
    const callers = createProcess(timeline, "callers");
    const route = world.network.route(
      callers,
      "callers",
      world.replicas,
      seededRandom(this.#ground.fork()),
    );
    const chance = seededRandom(this.#ground.fork());
    this.#caller = startCaller(callers, route, chance, this.#jobs);
    createOperator(world, seededRandom(this.#ground.fork()));
    createStopper(world, seededRandom(this.#ground.fork()), this.#activeMs);
    for (const fault of this.#faults) {
      timeline.after(fault.atMs, () => void this.#struck.push(strike(world, fault)));
    }
    await this.#runUntil(() => timeline.now() >= this.#activeMs, this.#activeMs);
    if (this.#violations.length === 0) calm(world);
    const isOver = (): boolean => this.#caller?.isDone() === true && this.#areAllEnded();
    const limit = timeline.now() + RECOVERY_MS;
    await this.#runUntil(isOver, limit);
    if (this.#violations.length === 0 && !isOver()) {
      this.#bad("P1", `after ${RECOVERY_MS / 60_000} min without faults: ${this.#describeLive()}`);
    }
    await this.#tidyUp(() => checkEnd(world, this.#ledger));
    // A process that was overtaken may have left something behind: the next one clears it away.
    for (const machine of world.machines) {
      machine.kill();
      machine.start();
    }
    await this.#tidyUp(() => [...checkEnd(world, this.#ledger), ...checkDisks(world)]);
    if (this.#violations.length === 0) {
      this.#checkOutcomes();
      this.#violations.push(...(await checkErrorCounts(this.#ground.database)));
      for (const place of await this.#ground.database.foreignInstants()) {
        this.#bad("time", `${place} holds an instant of another clock than the simulation's`);
      }
    }
    for (const { simulator } of world.comfyWorld.all) simulator.stop();
    return this.#result();
  }

  /** Waits until nothing is left that `check` finds. */
  async #tidyUp(check: () => readonly Violation[]): Promise<void> {
    await this.#runUntil(() => check().length === 0, this.#ground.timeline.now() + TIDY_MS);
    if (this.#violations.length === 0) this.#violations.push(...check());
  }

  /** Steps on until a condition holds, an instant is reached or a promise is broken. */
  async #runUntil(isDone: () => boolean, limit: number): Promise<void> {
    const { timeline } = this.#ground;
    while (this.#violations.length === 0 && timeline.now() < limit) {
      const tickAt = Math.min(limit, timeline.now() + TICK_MS);
      while (await timeline.step(tickAt));
      await this.#look();
      if (isDone()) return;
    }
  }

  /** Takes in what the database went through since the last look, and looks at everything else. */
  async #look(): Promise<void> {
    const rows = await this.#ground.database.read(READ_CHANGES, [this.#safeSeq]);
    const read = rows as unknown as Change[];
    const fresh = read.filter(({ seq }) => !this.#seen.has(seq));
    for (const { seq } of fresh) this.#seen.add(seq);
    // A transaction that is still open may bring changes with smaller numbers than these.
    if (this.#ground.database.openTransactions() === 0) {
      this.#safeSeq = Math.max(this.#safeSeq, ...read.map(({ seq }) => seq));
      this.#seen.clear();
    }
    this.#violations.push(...this.#ledger.take(fresh));
    this.#violations.push(...checkTick(this.#world));
    const caller = this.#caller;
    if (caller === undefined) return;
    for (const surprise of caller.surprises) this.#bad("P1", surprise);
    for (const [key, id] of caller.accepted) {
      if (!this.#ledger.has(id)) this.#bad("P1", `${key} was accepted as ${id} and is lost`);
    }
  }

  #areAllEnded(): boolean {
    return this.#ledger.fates().every(({ state }) => ENDS.has(state));
  }

  #describeLive(): string {
    const live = this.#ledger.fates().filter(({ state }) => !ENDS.has(state));
    const callers = this.#caller?.isDone() === true ? "" : " and a caller waits for an answer";
    return `${live.map(({ id, state }) => `${id} is ${state}`).join(", ")}${callers}`;
  }

  /** What the jobs came to, against what their graphs allow. */
  #checkOutcomes(): void {
    for (const job of this.#jobs) {
      const id = this.#caller?.accepted.get(job.key);
      const fate = id === undefined ? undefined : this.#ledger.fate(id);
      if (id === undefined || fate === undefined) {
        this.#bad("P1", `${job.key} has no job`);
        continue;
      }
      if (job.isDoomed && fate.state === "completed") {
        this.#bad("P3", `${job.key} (${job.kind}) cannot be completed, and is`);
      }
      this.#violations.push(...checkPictures(this.#world, this.#ledger, job, id));
      const wasCancelled = this.#caller?.cancelled.has(id) === true;
      if (fate.state === "cancelled" && !wasCancelled) {
        this.#bad("P1", `${job.key} is cancelled, and nobody asked for it`);
      }
    }
  }

  #bad(rule: string, what: string): void {
    this.#violations.push({ rule, what });
  }

  /** The input picture that some graphs read, as an upload leaves it. */
  async #seedInput(): Promise<void> {
    const bytes = inputPicture();
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    (this.#world.store.blobs as Map<string, Buffer>).set(sha256, bytes);
    const { database } = this.#ground;
    await database.read(
      `with stored as (
         insert into blobs (sha256, size_bytes, stored_at)
         values ($1, $2, to_timestamp($3)) returning sha256
       )
       insert into files (id, owner, name, sha256, media_type, created_at)
       select 'fil_input', 'local', $4, sha256, 'image/png', to_timestamp($3) from stored`,
      [sha256, bytes.length, EPOCH_MS / 1_000, INPUT_NAME],
    );
  }

  #result(): SimulationResult {
    const { timeline, trace, database } = this.#ground;
    const fates = this.#ledger.fates();
    const ends: Record<string, number> = {};
    const outcomes: Record<string, number> = {};
    const count = (counts: Record<string, number>, name: string): void => {
      counts[name] = (counts[name] ?? 0) + 1;
    };
    for (const { id, state, poison, attempts } of fates) {
      count(ends, poison ? "poison" : state);
      const own = attempts.map(({ outcome }) => outcome ?? "open");
      for (const outcome of own) count(outcomes, outcome);
      trace.note("world", "end", `${id} ${state}`, own.join());
    }
    for (let n = 0; n < this.#ledger.takenUpAgain(); n += 1) count(outcomes, "taken up again");
    return {
      seed: this.#options.seed,
      violations: this.#violations,
      digest: trace.digest(),
      lines: trace.lines(),
      simulatedMs: timeline.now(),
      statements: database.statements(),
      ends,
      outcomes,
      faults: this.#struck,
      tail: trace.tail(),
    };
  }
}

const ENDS: ReadonlySet<string> = new Set(["completed", "failed", "timeout", "cancelled"]);

/** An instance; the first of the fleet has every model, so that somebody can serve every job. */
function comfySpec(machine: number, gpu: number, seed: number): ComfySpec {
  const isFirst = machine === 0 && gpu === 0;
  const checkpoints = (DEFAULT_MODELS["checkpoints"] ?? []).filter((name) => name !== RARE_MODEL);
  return {
    url: `http://10.0.${machine}.${gpu + 1}:8188`,
    models: {
      ...DEFAULT_MODELS,
      checkpoints: isFirst ? [...checkpoints, RARE_MODEL] : checkpoints,
    },
    seed,
  };
}
