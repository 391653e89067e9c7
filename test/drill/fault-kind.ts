/** What a kind of fault is: the words in which `kinds*.ts` tell what a drill does to a job. */
import type { Random } from "@holdfast/runtime";
import type { ErrorClass } from "@holdfast/recovery";
import type { FaultRule, Reply } from "@holdfast/simulator";
import type { AskedOfComfy, SimComfy } from "../simulation/world/comfy.ts";
import type { DrillPicture } from "./graphs.ts";

/** The groups that have a target of their own; `other` counts in the overall rate alone. */
export type FaultGroup = "oom" | "timeout" | "network" | "model" | "other";

/** The machines that a job meets. */
export interface DrillFleet {
  /** One entry an instance: GiB of its card, machine by number, checkpoints. */
  readonly instances: readonly {
    readonly gib: number;
    readonly machine: number;
    readonly checkpoints: readonly string[];
  }[];
}

/** One instance of a drill's fleet, and what can be done to it. */
export interface DrillInstance {
  readonly comfy: SimComfy;
  readonly machine: number;
  readonly gib: number;
  /** Its checkpoints, to be taken away: what it lists and finds from then on. */
  readonly checkpoints: string[];
}

/** What a fault can lay hands on when it strikes: at the job's first POST, before it is answered. */
export interface Scene {
  /** The instance that got the job. */
  readonly struck: DrillInstance;
  readonly all: readonly DrillInstance[];
  readonly checkpoint: string;
  readonly promptId: string;
  readonly random: Random;
  readonly after: (ms: number, run: () => void) => void;
  /** Puts a rule in force there until the process ends, as what lives in its memory. */
  readonly untilRestart: (where: DrillInstance, rule: FaultRule) => void;
  /** Answers requests to it from here on. `undefined` lets one through. */
  readonly answer: (where: DrillInstance, how: Answering) => void;
}

/** Answers a request in a ComfyUI's place; `undefined` lets it through. */
export type Answering = (asked: AskedOfComfy) => Reply | "cut" | undefined;

/** A kind of fault. */
export interface FaultKind {
  readonly name: string;
  /** What it must be called. */
  readonly class: ErrorClass;
  /** Classes that are right too, where the evidence cannot tell more. */
  readonly orClass?: ErrorClass;
  readonly group: FaultGroup;
  /** Gone at the next try, without anything having changed. */
  readonly isTransient: boolean;
  /** Whether any system could finish the job; the others must end `failed`, of their class, soon. */
  readonly isRecoverable: boolean;
  /** How many of it there are, beside the others. */
  readonly weight: number;
  readonly fleet: DrillFleet;
  /** An instance, by its number, that takes no job until another one has got the first. */
  readonly heldBack?: number;
  /** The model that must take the missing one's place: of its family, else the first of C1's order. */
  readonly rightModel?: string;
  /** What differs from an ordinary job. */
  picture?(random: Random): Partial<DrillPicture>;
  /** What happens at the job's first POST; absent where the fleet itself is the fault. */
  strike?(scene: Scene): void;
}

const SD15 = "v1-5-pruned-emaonly.safetensors";
/** What every instance has unless a kind says otherwise. */
const CHECKPOINTS: readonly string[] = [SD15, "sd_xl_base_1.0.safetensors", "tiny.safetensors"];

/** Three instances on two machines: the first machine has two of them. */
export function fleetOf(
  gib: readonly [number, number, number],
  checkpoints: readonly string[] = CHECKPOINTS,
): DrillFleet {
  return {
    instances: gib.map((one, index) => ({ gib: one, machine: index < 2 ? 0 : 1, checkpoints })),
  };
}

/** Cards on which every ordinary job fits many times over. */
export const LARGE = fleetOf([24, 24, 24]);
