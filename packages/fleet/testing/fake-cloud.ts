/** A provider of machines in memory, whose machines do as they are told by a script. Time is given. */
import { pick, type Random } from "@holdfast/runtime";
import {
  NO_SIGNS,
  toListing,
  type MachineSigns,
  type PoolListing,
  type Provided,
  type ProvidedMachine,
} from "../src/index.ts";

/** What becomes of a machine of the cloud, in ms after it was made; null: never. */
export interface MachineScript {
  readonly healthyAfterMs: number | null;
  readonly diesAfterMs: number | null;
}

/** How the cloud behaves. */
export interface CloudScript {
  readonly script: (random: Random) => MachineScript;
  /** A machine is in the list only so long after it was made. */
  readonly listLagMs: number;
  /** Share of requests whose answer is lost, made or not. */
  readonly lostShare: number;
  /** Share of requests for which there is no capacity. */
  readonly emptyShare: number;
}

/** A machine of the cloud. */
export interface CloudMachine extends MachineScript {
  readonly ref: string;
  readonly name: string;
  readonly madeAt: number;
  endedAt: number | null;
}

/** A machine's hours and what they cost, at one dollar an hour. */
const MS_PER_HOUR = 3_600_000;

/** See the head of this file. */
export class FakeCloud {
  readonly machines: CloudMachine[] = [];
  /** What it was told to end, in order. */
  readonly told: string[] = [];
  /** Its list is empty, as of another account's. */
  isBlank = false;
  /** It answers no request to end a machine. */
  isDeaf = false;
  readonly #byName = new Map<string, CloudMachine>();
  readonly #script: CloudScript;
  readonly #random: Random;

  constructor(script: CloudScript, random: Random) {
    this.#script = script;
    this.#random = random;
  }

  create(name: string, now: number): Provided<ProvidedMachine> {
    const { script, lostShare, emptyShare } = this.#script;
    if (this.#random.next() < emptyShare) return trouble("capacity", false);
    const isLost = this.#random.next() < lostShare;
    if (isLost && this.#random.next() < 0.5) return trouble("unavailable", true);
    const ref = `ref-${this.machines.length}`;
    const machine = { ref, name, madeAt: now, endedAt: null, ...script(this.#random) };
    this.machines.push(machine);
    this.#byName.set(name, machine);
    return isLost ? trouble("unavailable", true) : { kind: "ok", value: toProvided(machine, now) };
  }

  list(now: number): PoolListing {
    const { listLagMs } = this.#script;
    if (this.isBlank) return toListing(now, []);
    const shown = this.machines.filter(
      ({ madeAt, endedAt }) =>
        now - madeAt >= listLagMs && (endedAt === null || now - endedAt < 600_000),
    );
    return toListing(
      now,
      shown.map((one) => toProvided(one, now)),
    );
  }

  terminate(ref: string, now: number): void {
    this.told.push(ref);
    for (const one of this.machines) if (one.ref === ref) one.endedAt ??= now;
  }

  living(now: number): readonly CloudMachine[] {
    return this.machines.filter((one) => !hasEnded(one, now));
  }

  /** What a machine's agent would have told by now. */
  signs(name: string, now: number, jobCount: number, idleSince: number | null): MachineSigns {
    const one = this.#byName.get(name);
    if (one === undefined) return NO_SIGNS;
    const { healthyAfterMs } = one;
    const diedAt = deathOf(one);
    const lastWord = Math.min(now, diedAt ?? now);
    const isHealthy =
      diedAt === null && healthyAfterMs !== null && now - one.madeAt >= healthyAfterMs;
    return {
      ...NO_SIGNS,
      heartbeatAt: healthyAfterMs === null ? null : lastWord,
      progressAt: one.madeAt,
      isHealthy: isHealthy && !hasEnded(one, now),
      jobCount,
      idleSince,
    };

    function deathOf({ madeAt, diesAfterMs }: CloudMachine): number | null {
      const at = diesAfterMs === null ? null : madeAt + diesAfterMs;
      return at !== null && at <= now ? at : null;
    }
  }

  /** Dollars spent until now, at a dollar an hour. */
  cost(now: number): number {
    const ms = this.machines.reduce(
      (sum, { madeAt, endedAt }) => sum + (endedAt ?? now) - madeAt,
      0,
    );
    return ms / MS_PER_HOUR;
  }

  /** One that lives, chosen by chance. */
  pickLiving(now: number): CloudMachine | undefined {
    const living = this.living(now);
    return living.length === 0 ? undefined : pick(this.#random, living);
  }
}

function hasEnded({ endedAt }: CloudMachine, now: number): boolean {
  return endedAt !== null && endedAt <= now;
}

function toProvided(one: CloudMachine, now: number): ProvidedMachine {
  return {
    ref: one.ref,
    name: one.name,
    state: hasEnded(one, now) ? "ended" : "running",
    reason: null,
    offer: null,
    pricePerHour: 1,
    address: null,
    createdAt: one.madeAt,
  };
}

function trouble(
  kind: "capacity" | "unavailable",
  mayHaveHappened: boolean,
): Provided<ProvidedMachine> {
  return { kind: "trouble", trouble: { kind, message: kind, retryAfterMs: null, mayHaveHappened } };
}
