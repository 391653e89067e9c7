/** What may go wrong in a simulation. Every fault is planned from the seed, and mended by `calm`. */
import { nextInt, pick, type Random } from "@holdfast/runtime";
import type { ComfyWorld, SimComfy } from "./comfy.ts";
import type { SimDatabase } from "./database.ts";
import type { Machine } from "./machine.ts";
import { FAIR, type Network } from "./network.ts";
import type { SimProcess } from "./process.ts";
import type { Replica } from "./replica.ts";
import type { SimStore } from "./store.ts";
import type { Timeline } from "./timeline.ts";
import type { Trace } from "./trace.ts";

/** All that a fault can lay hands on. */
export interface World {
  readonly timeline: Timeline;
  readonly trace: Trace;
  readonly network: Network;
  readonly database: SimDatabase;
  readonly store: SimStore;
  readonly comfyWorld: ComfyWorld;
  readonly machines: readonly Machine[];
  readonly replicas: readonly Replica[];
  /** Processes that stand still now. */
  readonly stopped: Set<SimProcess>;
}

/** A fault and its instant. */
export interface PlannedFault {
  readonly kind: FaultKind;
  readonly atMs: number;
  /** What its choices come from. */
  readonly random: Random;
}

type Strike = (world: World, random: Random) => string;

const seconds = (random: Random, from: number, to: number): number =>
  Math.round(1_000 * (from + random.next() ** 2 * (to - from)));
const comfyOf = (world: World, random: Random): SimComfy => pick(random, world.comfyWorld.all);
const machineOf = (world: World, random: Random): Machine => pick(random, world.machines);
const replicaOf = (world: World, random: Random): Replica => pick(random, world.replicas);

const stopFor = (world: World, process: SimProcess | undefined, ms: number): void => {
  if (process === undefined || process.isStopped()) return;
  process.stop();
  world.stopped.add(process);
  world.timeline.after(ms, () => {
    world.stopped.delete(process);
    process.resume();
  });
};

const FAULTS = {
  "agent killed": (world, random) => {
    const machine = machineOf(world, random);
    const downMs = seconds(random, 0.1, 60);
    machine.kill();
    world.timeline.after(downMs, () => void (machine.agent() ?? machine.start()));
    return `${machine.name} for ${downMs} ms`;
  },
  "agent ends in order": (world, random) => {
    const machine = machineOf(world, random);
    const withinMs = seconds(random, 0, 20);
    machine.shutDown(withinMs);
    // Systemd would wait; somebody in a hurry does not.
    world.timeline.after(withinMs + seconds(random, 0, 10), () => {
      if (machine.agent() === undefined) machine.start();
    });
    return `${machine.name} within ${withinMs} ms`;
  },
  "agent stands still": (world, random) => {
    const machine = machineOf(world, random);
    const ms = seconds(random, 1, 90);
    stopFor(world, machine.agent()?.process, ms);
    return `${machine.name} for ${ms} ms`;
  },
  "agent comes back as a zombie": (world, random) => {
    const machine = machineOf(world, random);
    const ms = seconds(random, 2, 60);
    stopFor(world, machine.agent()?.process, ms);
    world.timeline.after(ms * random.next(), () => machine.start());
    return `${machine.name} for ${ms} ms`;
  },
  "machine lost": (world, random) => {
    const machine = machineOf(world, random);
    const downMs = seconds(random, 2, 120);
    machine.kill();
    for (const comfy of machine.comfys) comfy.simulator.crash(null);
    world.timeline.after(downMs, () => {
      for (const comfy of machine.comfys) comfy.simulator.restart();
      if (machine.agent() === undefined) machine.start();
    });
    return `${machine.name} for ${downMs} ms`;
  },
  "replica killed": (world, random) => {
    const replica = replicaOf(world, random);
    const downMs = seconds(random, 0.2, 60);
    replica.kill();
    world.timeline.after(downMs, () => replica.start());
    return `${replica.name} for ${downMs} ms`;
  },
  "replica killed between commit and answer": (world, random) => {
    const downMs = seconds(random, 0.2, 20);
    const nth = 1 + nextInt(random, 12);
    let left = nth;
    const arm = (): void => {
      world.database.afterNextWrite = () => {
        left -= 1;
        if (left > 0) return arm();
        const victims = world.replicas.filter((replica) => replica.process() !== undefined);
        if (victims.length === 0) return;
        const victim = pick(random, victims);
        victim.kill();
        world.timeline.after(downMs, () => victim.start());
      };
    };
    arm();
    return `at the ${nth}. write, for ${downMs} ms`;
  },
  "replica stands still": (world, random) => {
    const replica = replicaOf(world, random);
    const ms = seconds(random, 1, 60);
    stopFor(world, replica.process(), ms);
    return `${replica.name} for ${ms} ms`;
  },
  "ComfyUI crashes": (world, random) => {
    const comfy = comfyOf(world, random);
    const downMs = seconds(random, 0.2, 40);
    comfy.simulator.crash(downMs);
    return `${comfy.url} for ${downMs} ms`;
  },
  "ComfyUI crashes at a request": (world, random) => {
    const comfy = comfyOf(world, random);
    const when = pick(random, ["before", "after"] as const);
    const path = pick(random, ["/prompt", "/history/", "/queue", "/view"] as const);
    comfy.simulator.faults.add({
      kind: "crash",
      downMs: seconds(random, 0.2, 20),
      when,
      match: { path },
    });
    return `${comfy.url} ${when} ${path}`;
  },
  "ComfyUI becomes a zombie": (world, random) => {
    const comfy = comfyOf(world, random);
    comfy.simulator.faults.add({ kind: "zombie" });
    return comfy.url;
  },
  "ComfyUI answers nothing": (world, random) => {
    const comfy = comfyOf(world, random);
    const ms = seconds(random, 1, 100);
    comfy.simulator.faults.add({ kind: "gc_pause", ms });
    return `${comfy.url} for ${ms} ms`;
  },
  "POST broken": (world, random) => {
    const comfy = comfyOf(world, random);
    const when = pick(random, ["before", "after", "after"] as const);
    const match = { path: "/prompt", method: "POST", count: 1 + nextInt(random, 3) };
    const isReset = random.next() < 0.6;
    if (isReset) comfy.simulator.faults.add({ kind: "reset", when, match });
    else comfy.simulator.faults.add({ kind: "http_error", status: 500, when, match });
    return `${comfy.url} ${isReset ? "reset" : "500"} ${when} ${match.count} times`;
  },
  "answers broken": (world, random) => {
    const comfy = comfyOf(world, random);
    const path = pick(random, ["/history", "/queue", "/view", "/system_stats", "/upload"] as const);
    const match = { path, count: 1 + nextInt(random, 8) };
    if (random.next() < 0.5) comfy.simulator.faults.add({ kind: "reset", when: "after", match });
    else comfy.simulator.faults.add({ kind: "delay", ms: seconds(random, 1, 50), match });
    return `${comfy.url} ${path} ${match.count} times`;
  },
  "node fails": (world, random) => {
    const comfy = comfyOf(world, random);
    const kind = pick(random, ["oom", "raise", "disk_full"] as const);
    const count = 1 + nextInt(random, 3);
    comfy.simulator.faults.add({ kind, match: { nodeClass: "SaveImage", count } });
    return `${comfy.url} ${kind} ${count} times`;
  },
  "node hangs": (world, random) => {
    const comfy = comfyOf(world, random);
    const polls = random.next() < 0.7;
    comfy.simulator.faults.add({ kind: "hang", polls, match: { nodeClass: "SaveImage" } });
    return `${comfy.url} ${polls ? "until interrupted" : "for ever"}`;
  },
  "file gone or cut": (world, random) => {
    const comfy = comfyOf(world, random);
    const count = 1 + nextInt(random, 8);
    if (random.next() < 0.5) {
      comfy.simulator.faults.add({ kind: "delete_file", match: { nodeClass: "SaveImage" } });
      return `${comfy.url} deleted`;
    }
    comfy.simulator.faults.add({ kind: "delete_file", match: { path: "/view", count } });
    return `${comfy.url} not found ${count} times`;
  },
  "socket broken": (world, random) => {
    const comfy = comfyOf(world, random);
    const kind = pick(random, ["drop_socket", "stall_socket", "lose_registration"] as const);
    comfy.simulator.faults.add({ kind });
    return `${comfy.url} ${kind}`;
  },
  "bad weather": (world, random) => {
    const ms = seconds(random, 5, 90);
    const { weather } = world.network;
    weather.loss = random.next() * 0.35;
    weather.doubled = random.next() * 0.4;
    weather.slowestMs = 4 + random.next() ** 3 * 8_000;
    world.timeline.after(ms, () => void Object.assign(weather, FAIR));
    return `loss ${weather.loss.toFixed(2)}, doubled ${weather.doubled.toFixed(2)}, up to ${Math.round(weather.slowestMs)} ms, for ${ms} ms`;
  },
  partition: (world, random) => {
    const machine = machineOf(world, random);
    const how = pick(random, ["refused", "silent", "one_way"] as const);
    const ms = seconds(random, 2, 120);
    world.network.parted.set(machine.name, how);
    world.timeline.after(ms, () => void world.network.parted.delete(machine.name));
    return `${machine.name} ${how} for ${ms} ms`;
  },
  "database down": (world, random) => {
    const ms = seconds(random, 0.5, 60);
    world.database.takeDown();
    world.timeline.after(ms, () => world.database.bringUp());
    return `for ${ms} ms`;
  },
  "replica cut off from the database": (world, random) => {
    const { name } = replicaOf(world, random);
    const ms = seconds(random, 1, 60);
    world.database.cutOff.add(name);
    world.timeline.after(ms, () => void world.database.cutOff.delete(name));
    return `${name} for ${ms} ms`;
  },
  "database answers get lost": (world, random) => {
    const count = 1 + nextInt(random, 4);
    world.database.answersToLose = count;
    return `${count} writes`;
  },
  "database slow": (world, random) => {
    const ms = seconds(random, 5, 60);
    world.database.slowestMs = 20 + random.next() ** 2 * 3_000;
    world.timeline.after(ms, () => {
      world.database.slowestMs = 1.5;
    });
    return `up to ${Math.round(world.database.slowestMs)} ms, for ${ms} ms`;
  },
  "store down": (world, random) => {
    const ms = seconds(random, 1, 90);
    world.store.isDown = true;
    world.timeline.after(ms, () => {
      world.store.isDown = false;
    });
    return `for ${ms} ms`;
  },
  "agent's disk full": (world, random) => {
    const machine = machineOf(world, random);
    const ms = seconds(random, 2, 60);
    machine.disk.isFull = true;
    world.timeline.after(ms, () => {
      machine.disk.isFull = false;
    });
    return `${machine.name} for ${ms} ms`;
  },
  "database's clock jumps": (world, random) => {
    const by = (random.next() < 0.5 ? -1 : 1) * seconds(random, 0.5, 90);
    world.database.aheadMs += by;
    return `by ${by} ms`;
  },
  "a process's clock jumps": (world, random) => {
    const { name, skew } = pick(random, [...world.machines, ...world.replicas]);
    const by = (random.next() < 0.5 ? -1 : 1) * seconds(random, 0.5, 600);
    skew.aheadMs += by;
    return `${name} by ${by} ms`;
  },
} as const satisfies Readonly<Record<string, Strike>>;

/** Everything that may go wrong. */
export type FaultKind = keyof typeof FAULTS;
/** See {@link FaultKind}. */
export const FAULT_KINDS = Object.keys(FAULTS) as readonly FaultKind[];

/**
 * Plans faults between two instants. Each simulation has only some kinds of them, so that they meet
 * often instead of drowning each other.
 */
export function planFaults(
  random: Random,
  fromMs: number,
  toMs: number,
  makeRandom: () => Random,
): readonly PlannedFault[] {
  const share = 0.15 + random.next() * 0.6;
  const kinds = FAULT_KINDS.filter(() => random.next() < share);
  const [first] = FAULT_KINDS;
  if (kinds.length === 0 && first !== undefined) kinds.push(first);
  const count = 2 + nextInt(random, 10);
  return Array.from({ length: count }, () => ({
    kind: pick(random, kinds),
    atMs: fromMs + random.next() * (toMs - fromMs),
    random: makeRandom(),
  }));
}

/** Lets a fault strike; what it did, in words. */
export function strike(world: World, fault: PlannedFault): string {
  const words = `${fault.kind}: ${FAULTS[fault.kind](world, fault.random)}`;
  world.trace.note("world", "fault", words, "");
  return words;
}

/** Mends everything: from here on nothing fails but what graphs do by themselves. */
export function calm(world: World): void {
  world.trace.note("world", "calm", "", "");
  Object.assign(world.network.weather, FAIR);
  world.network.parted.clear();
  const { database, store } = world;
  database.bringUp();
  database.cutOff.clear();
  database.answersToLose = 0;
  database.afterNextWrite = undefined;
  database.slowestMs = 1.5;
  store.isDown = false;
  for (const process of world.stopped) process.resume();
  world.stopped.clear();
  for (const replica of world.replicas) replica.start();
  for (const machine of world.machines) {
    machine.disk.isFull = false;
    if (machine.agent() === undefined) machine.start();
  }
  for (const { simulator } of world.comfyWorld.all) {
    simulator.faults.clear();
    if (!simulator.isUp() || simulator.stats().isZombie) simulator.restart();
  }
}
