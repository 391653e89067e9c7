/** Too little memory, on the card or on the host. Nothing of it goes away by trying again. */
import { nextInt, pick } from "@holdfast/runtime";
import { fleetOf, LARGE, type FaultKind, type Scene } from "./fault-kind.ts";

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;
/** One picture of this many pixels does not fit a card of 2.3 GiB; two reductions at most, and it does. */
const LARGE_SIDES = [2432, 2560, 2688, 2816, 2944];

const oom = {
  class: "cuda_out_of_memory",
  group: "oom",
  isTransient: false,
  isRecoverable: true,
} as const;

/** So much is taken that the job's sampler does not get what it needs. */
const SCRAPS = 0.55 * GIB;

/** Kinds of it. */
export const MEMORY_KINDS: readonly FaultKind[] = [
  {
    ...oom,
    name: "a picture too large for every card",
    weight: 55,
    fleet: fleetOf([2.3, 2.3, 2.3]),
    picture: (random) => ({
      width: pick(random, LARGE_SIDES),
      height: pick(random, LARGE_SIDES),
      isTwoStage: false,
      steps: 20 + nextInt(random, 20),
    }),
  },
  {
    ...oom,
    name: "a picture too large for two cards of three",
    weight: 35,
    fleet: fleetOf([1.8, 1.8, 24]),
    heldBack: 2,
    // On the large card neither the sampler nor the VAE has to do anything about it.
    picture: (random) => ({
      width: pick(random, [2240, 2304]),
      height: pick(random, [2240, 2304]),
      isTwoStage: false,
    }),
  },
  {
    ...oom,
    name: "a batch too large for every card",
    weight: 50,
    fleet: fleetOf([1.8, 1.8, 1.8]),
    // In one piece 16 to 24 pictures of this size need more than the card has; one by one they fit.
    picture: (random) => ({
      width: 512,
      height: 512,
      batch: 16 + nextInt(random, 9),
      isTwoStage: false,
    }),
  },
  {
    ...oom,
    name: "memory that the node cache holds",
    weight: 40,
    fleet: LARGE,
    picture: () => ({ width: 512, height: 512 }),
    strike: ({ all }) => {
      // On every instance: moving on does not help, freeing does.
      for (const { comfy, gib } of all) {
        const bytes = gib * GIB - SCRAPS;
        comfy.simulator.faults.add({ kind: "leak", bytes, heldBy: "cache" });
      }
    },
  },
  {
    ...oom,
    name: "memory that the process has leaked",
    weight: 20,
    fleet: LARGE,
    picture: () => ({ width: 512, height: 512 }),
    strike: ({ struck }) => {
      const bytes = struck.gib * GIB - SCRAPS;
      struck.comfy.simulator.faults.add({ kind: "leak", bytes });
    },
  },
  {
    ...oom,
    name: "memory that another program holds",
    weight: 40,
    fleet: LARGE,
    picture: () => ({ width: 512, height: 512 }),
    strike: ({ struck }) => {
      const bytes = struck.gib * GIB - SCRAPS;
      struck.comfy.simulator.faults.add({ kind: "other_process", bytes });
    },
  },
  {
    ...oom,
    name: "a VAE that needs more than the card has",
    weight: 30,
    fleet: fleetOf([1.6, 1.6, 1.6]),
    // Its own retry in tiles of 512 does not fit beside the VAE either; smaller tiles do.
    picture: (random) => ({
      width: 640 + 64 * nextInt(random, 4),
      height: 640 + 64 * nextInt(random, 4),
      isTwoStage: false,
    }),
  },
  {
    name: "no memory left on the host",
    class: "host_out_of_memory",
    group: "other",
    isTransient: false,
    isRecoverable: true,
    weight: 25,
    fleet: LARGE,
    strike: (scene: Scene) =>
      scene.untilRestart(scene.struck, {
        kind: "raise",
        exceptionType: "RuntimeError",
        message: `[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate ${String(MIB * 4096)} bytes. Error code 12 (Cannot allocate memory)`,
        match: { nodeClass: "VAEDecode", count: 0 },
      }),
  },
];
