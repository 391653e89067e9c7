/**
 * The system that a drill tries: one control plane on a real Postgres, on the fake clock of the
 * simulation, with the times that operators have. Each fault meets machines of its own, new to it, so
 * that no fault pays for another one's.
 */
import { DEFAULT_LIMITS } from "@holdfast/agent";
import { DEFAULT_FALLBACK_MODELS } from "@holdfast/recovery";
import { seededRandom } from "@holdfast/runtime";
import {
  createSimDatabase,
  type SimDatabase,
  type SimTemplate,
} from "../simulation/world/database.ts";
import { createComfyWorld, type ComfyWorld } from "../simulation/world/comfy.ts";
import { createMachine, type Machine } from "../simulation/world/machine.ts";
import { createNetwork, type Network } from "../simulation/world/network.ts";
import { createProcess } from "../simulation/world/process.ts";
import { createReplica, type Replica, type ReplicaApi } from "../simulation/world/replica.ts";
import { createStore, type SimStore } from "../simulation/world/store.ts";
import { createTimeline, type Timeline } from "../simulation/world/timeline.ts";
import { createTrace, type Trace } from "../simulation/world/trace.ts";
import { leaseTimes } from "../../packages/control-plane/src/scheduler/lease-times.ts";
import type { DrillFleet, DrillInstance } from "./fault-kind.ts";

/** What a node that ran to its end is told by. */
export interface NodeDone {
  readonly promptId: string;
  readonly classType: string;
}

/** Machines of one fault. */
export interface Fleet {
  readonly instances: readonly DrillInstance[];
  readonly machines: readonly Machine[];
}

/** See the header. */
export interface Ground {
  readonly timeline: Timeline;
  readonly database: SimDatabase;
  readonly store: SimStore;
  /** The control plane's services, called as its routes call them. */
  api(): ReplicaApi;
  /** Starts machines; resolves when every instance takes work. */
  raise(
    fleet: DrillFleet,
    name: string,
    seed: number,
    onDone: (done: NodeDone) => void,
  ): Promise<Fleet>;
  /** Ends them in order, or at once when they do not end; nobody counts on them afterwards. */
  raze(fleet: Fleet): Promise<void>;
  /** Lets time pass until something holds; false when it does not within the limit. */
  until(
    isSo: () => boolean | Promise<boolean>,
    limitMs: number,
    everyMs?: number,
  ): Promise<boolean>;
  /** Lets time pass until a promise is settled. */
  settle<T>(promise: Promise<T>): Promise<T>;
  close(): Promise<void>;
}

const SECOND = 1_000;
/** The defaults of `docs/configuration.md`. */
const SETTINGS = {
  ...leaseTimes(30 * SECOND, 20 * SECOND),
  stalls: {
    progressMs: 120 * SECOND,
    firstLoadMs: 300 * SECOND,
    isFixed: { progress: false, firstLoad: false },
  },
  fallbackModels: DEFAULT_FALLBACK_MODELS,
  // But for this one: a drill's pictures are too small for checkpoints to be worth their files.
  checkpointMinWork: 0,
} as const;
/** Simulated time within which a call is answered, or the drill itself is broken. */
const CALL_MS = 120 * SECOND;
const START_MS = 120 * SECOND;
const END_MS = 30 * SECOND;

/** How to make a {@link Ground}. */
export interface GroundOptions {
  readonly seed: number;
  readonly serverUrl: string;
  readonly template: SimTemplate;
  /** Sees every line of the trace as it comes. */
  readonly onLine?: (line: string) => void;
}

/** Makes a ground with its control plane at work. */
export async function createGround(options: GroundOptions): Promise<Ground> {
  const timeline = createTimeline();
  const trace = createTrace(timeline, options.onLine);
  const { serverUrl, template, seed } = options;
  const database = await createSimDatabase(serverUrl, template, timeline, trace);
  const store = createStore();
  const network = createNetwork(timeline, trace);
  const replica = createReplica({
    name: "control-plane",
    seed,
    skew: { aheadMs: 0, rate: 1 },
    timeline,
    trace,
    database,
    store,
    settings: SETTINGS,
    others: () => [],
  });
  replica.start();
  return new DrillGround({ timeline, trace, database, store, network, replica });
}

interface Parts {
  readonly timeline: Timeline;
  readonly trace: Trace;
  readonly database: SimDatabase;
  readonly store: SimStore;
  readonly network: Network;
  readonly replica: Replica;
}

class DrillGround implements Ground {
  readonly timeline: Timeline;
  readonly database: SimDatabase;
  readonly store: SimStore;
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.timeline = parts.timeline;
    this.database = parts.database;
    this.store = parts.store;
  }

  api(): ReplicaApi {
    const running = this.#parts.replica.current();
    if (running === undefined) throw new Error("the control plane is not running");
    return running.api;
  }

  async raise(
    fleet: DrillFleet,
    name: string,
    seed: number,
    onDone: (done: NodeDone) => void,
  ): Promise<Fleet> {
    const random = seededRandom(seed);
    const specs = fleet.instances.map(({ gib, checkpoints }, index) => ({
      url: `http://${name}-${index + 1}:8188`,
      models: { checkpoints: [...checkpoints] },
      seed: Math.floor(random.next() * 2 ** 31),
      vram: { totalBytes: Math.round(gib * 1024 ** 3), deviceName: `card of ${gib} GiB` },
      // What nobody can reach any more is of no use to anybody.
      onNodeDone: (done: NodeDone) => {
        if (comfyWorld.all[index]?.isCutOff !== true) onDone(done);
      },
    }));
    const { timeline, trace } = this.#parts;
    const comfyWorld: ComfyWorld = createComfyWorld(
      timeline,
      trace,
      createProcess(timeline, name),
      specs,
    );
    const instances = fleet.instances.map(({ gib, machine }, index): DrillInstance => {
      const comfy = comfyWorld.all[index];
      const spec = specs[index];
      if (comfy === undefined || spec === undefined) throw new Error("an instance is missing");
      return { comfy, machine, gib, checkpoints: spec.models.checkpoints };
    });
    const machines = [...new Set(instances.map(({ machine }) => machine))].map((machine) =>
      this.#machine(
        `${name}-m${machine + 1}`,
        comfyWorld,
        instances.filter((one) => one.machine === machine),
        random.next(),
      ),
    );
    for (const machine of machines) machine.start();
    const isReady = (): boolean =>
      machines.every((machine) => {
        const states = machine.agent()?.agent.status().instances ?? [];
        return states.length > 0 && states.every(({ state }) => state === "healthy");
      });
    if (!(await this.until(isReady, START_MS, 250))) throw new Error(`${name} does not get ready`);
    return { instances, machines };
  }

  #machine(
    name: string,
    comfyWorld: ComfyWorld,
    instances: readonly DrillInstance[],
    chance: number,
  ): Machine {
    const { timeline, trace, network, replica } = this.#parts;
    return createMachine({
      name,
      seed: Math.floor(chance * 2 ** 31),
      skew: { aheadMs: 0, rate: 1 },
      timeline,
      trace,
      network,
      replicas: [replica],
      comfyWorld,
      comfys: instances.map(({ comfy }) => comfy),
      limits: DEFAULT_LIMITS,
      watch: {
        onUnfit: (what, problem) => {
          throw new Error(`${name}: ${what}: ${problem}`);
        },
        onReported: () => undefined,
      },
    });
  }

  async raze({ machines, instances }: Fleet): Promise<void> {
    for (const machine of machines) machine.shutDown(0);
    const names = machines.map(({ name }) => name);
    const isGone = async (): Promise<boolean> => {
      const rows = await this.database.read(LIVE_INSTANCES, [names]);
      return rows.length === 0;
    };
    const isOver = await this.until(isGone, END_MS, SECOND);
    for (const { comfy } of instances) comfy.simulator.stop();
    // What did not sign off is taken for dead at once, as the heartbeat's time-out would, later.
    if (!isOver) await this.database.read(FORGET_INSTANCES, [names]);
  }

  async until(
    isSo: () => boolean | Promise<boolean>,
    limitMs: number,
    everyMs = SECOND,
  ): Promise<boolean> {
    const { timeline } = this.#parts;
    const limit = timeline.now() + limitMs;
    for (;;) {
      if (await isSo()) return true;
      if (timeline.now() >= limit) return false;
      const tickAt = Math.min(limit, timeline.now() + everyMs);
      while (await timeline.step(tickAt));
    }
  }

  async settle<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const done = (): void => {
      isSettled = true;
    };
    promise.then(done, done);
    if (!(await this.until(() => isSettled, CALL_MS, 20)))
      throw new Error("a call is not answered");
    return promise;
  }

  async close(): Promise<void> {
    this.#parts.replica.kill();
    await this.database.close();
  }
}

const LIVE_INSTANCES = `
  select i.id from instances i join machines m on m.id = i.machine_id
  where m.name = any($1) and i.declared and i.state <> 'stopped' and m.state = 'online'`;
const FORGET_INSTANCES = `
  update machines set state = 'lost' where name = any($1) returning id`;
