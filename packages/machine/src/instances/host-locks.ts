/**
 * Locks on cards and ports that hold for the whole host, whatever account an agent runs under.
 *
 * Each agent process writes a claim of its own for each thing it wants: a file
 * `<thing>.<pid>-<start>.claim` in a folder that all may write to. Nobody ever writes or removes another
 * account's file (the folder is sticky), so there is no lock file to fight for; instead:
 *
 * L1. Whoever wants a thing writes its claim first and looks at the others' afterwards: of two, at
 *     least one sees the other.
 * L2. A claim that is still `wanting` gives way to one that is `held`; of two that are wanting, the one
 *     with the greater id gives way.
 * L3. A claim counts while its agent lives, and also after that while the instance written into it
 *     lives, except for an agent of the same machine folder: that one adopts the instance.
 * L4. A claim counts only when its file belongs to the account of the process that it names, or to
 *     root: nobody can lock in another's name.
 *
 * It holds between processes that see each other: containers with process numbers of their own and
 * without a shared folder do not.
 */
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import type { HostProcesses } from "./host-processes.ts";
import { ClaimFiles, type ClaimKey } from "./claim-files.ts";
import { claimId, counts, type Claim, type ClaimContext } from "./lock-claims.ts";

/** What is locked. */
export type LockThing =
  | { readonly kind: "gpu"; readonly uuid: string }
  | { readonly kind: "port"; readonly port: number };

/** How a process is told to be alive, and whose it is. */
export type LockHost = Pick<HostProcesses, "startTimeOf" | "isAlive" | "accountOf">;

/** Where claims are: `/run/lock` is emptied by a reboot; the other is for hosts that have none. */
export function lockFolders(): readonly string[] {
  return ["/run/lock/holdfast", join(tmpdir(), "holdfast-locks")];
}

/** Settings of {@link HostLocks}. */
export interface HostLocksOptions {
  /** In the order in which they are tried; claims are looked for in all of them. */
  readonly folders: readonly string[];
  /** The machine folder. */
  readonly root: string;
  readonly clock: Clock;
  readonly host: LockHost;
  /** This process. */
  readonly pid: number;
}

/** Looks at another's claim that is about to be decided, and the pause between two. */
const UNDECIDED_LOOKS = 20;
const UNDECIDED_MS = 50;

interface Held {
  readonly key: ClaimKey;
  readonly thing: LockThing;
  readonly claim: Claim;
}

/** What the supervisor needs of {@link HostLocks}. */
export type InstanceLocks = Pick<HostLocks, "acquire" | "recordProcess" | "keepOnly" | "leave">;

/** The locks of one agent process. */
export class HostLocks {
  readonly #options: HostLocksOptions;
  readonly #files: ClaimFiles;
  readonly #startTime: string;
  readonly #held = new Map<string, Held>();
  #last: Promise<void> = Promise.resolve();

  constructor(options: HostLocksOptions) {
    this.#options = options;
    this.#files = new ClaimFiles(options.folders);
    this.#startTime = options.host.startTimeOf(options.pid) ?? "unknown";
  }

  /**
   * Takes all of these things for an instance, or none. Null when they are held now; else why not, in
   * words. Safe to repeat.
   */
  acquire(name: string, things: readonly LockThing[]): Promise<string | null> {
    return this.#serially(() => this.#acquire(name, things));
  }

  async #acquire(name: string, things: readonly LockThing[]): Promise<string | null> {
    const taken: LockThing[] = [];
    for (const thing of things) {
      const isNew = !this.#held.has(keyText(thing));
      const refusal = await this.#acquireOne(name, thing).catch(
        (error: unknown) =>
          `${thingText(thing)} could not be locked for this host: ${(error as Error).message}`,
      );
      if (refusal !== null) {
        for (const one of taken) await this.#releaseOne(one);
        return refusal;
      }
      if (isNew) taken.push(thing);
    }
    return null;
  }

  /**
   * Writes down which process serves with these things, so that they stay locked while it lives, even
   * after this agent. Claims that earlier agents of this folder left are removed then.
   */
  recordProcess(
    things: readonly LockThing[],
    instance: { readonly pid: number; readonly startTime: string },
  ): Promise<void> {
    return this.#serially(async () => {
      for (const thing of things) {
        const held = this.#held.get(keyText(thing));
        if (held === undefined) continue;
        const claim: Claim = { ...held.claim, instance };
        await this.#files.write(held.key, claimId(claim), JSON.stringify(claim));
        this.#held.set(keyText(thing), { ...held, claim });
        await this.#sweep(held.key, true);
      }
    });
  }

  /** Gives everything back but these things. */
  keepOnly(things: readonly LockThing[]): Promise<void> {
    const kept = new Set(things.map(keyText));
    return this.#serially(async () => {
      for (const { thing } of Array.from(this.#held.values())) {
        if (!kept.has(keyText(thing))) await this.#releaseOne(thing);
      }
    });
  }

  /** Gives everything back that no living instance needs: those stay locked for the next agent. */
  leave(): Promise<void> {
    return this.#serially(async () => {
      for (const { thing, claim } of Array.from(this.#held.values())) {
        const { instance } = claim;
        const lives =
          instance !== null && this.#options.host.isAlive(instance.pid, instance.startTime);
        if (!lives) await this.#releaseOne(thing);
      }
      this.#held.clear();
    });
  }

  /** One after the other, in the order of the calls: a thing is not given back while it is taken. */
  #serially<T>(run: () => Promise<T>): Promise<T> {
    const done = this.#last.then(run);
    this.#last = done.then(
      () => undefined,
      () => undefined, // Told to whoever called it.
    );
    return done;
  }

  async #acquireOne(name: string, thing: LockThing): Promise<string | null> {
    if (this.#held.has(keyText(thing))) return null;
    const key = this.#files.key(thing.kind, keyText(thing));
    const wanting: Claim = {
      version: 1,
      state: "wanting",
      pid: this.#options.pid,
      startTime: this.#startTime,
      root: this.#options.root,
      name,
      instance: null,
    };
    const id = claimId(wanting);
    await this.#files.write(key, id, JSON.stringify(wanting)); // L1
    try {
      const other = await this.#decide(key, wanting);
      if (other !== null) {
        await this.#files.remove(key, id);
        return refusalText(thing, other);
      }
      const claim: Claim = { ...wanting, state: "held" };
      await this.#files.write(key, id, JSON.stringify(claim));
      this.#held.set(keyText(thing), { key, thing, claim });
      await this.#sweep(key, false);
      return null;
    } catch (error) {
      await this.#files.remove(key, id).catch(() => undefined); // The first failure is the one to tell.
      throw error;
    }
  }

  /** Null when the thing is ours; else whose it is. */
  async #decide(key: ClaimKey, own: Claim): Promise<Claim | null> {
    for (let look = 1; ; look += 1) {
      const others = await this.#othersOf(key);
      const first = others.find(
        (claim) =>
          claim.state === "held" || claimId(claim) < claimId(own) || look > UNDECIDED_LOOKS,
      );
      if (first !== undefined) return first; // L2
      if (others.length === 0) return null;
      await this.#options.clock.sleep(UNDECIDED_MS);
    }
  }

  async #othersOf(key: ClaimKey): Promise<readonly Claim[]> {
    const context = this.#context();
    return (await this.#files.read(key))
      .filter((file) => counts(file, context))
      .flatMap(({ claim }) => (claim === null ? [] : [claim]));
  }

  /** Removes claims of the dead, where that is ours to do. */
  async #sweep(key: ClaimKey, isRecorded: boolean): Promise<void> {
    const context = this.#context();
    for (const file of await this.#files.read(key)) {
      if (file.claim === null || counts(file, context)) continue;
      if (claimId(file.claim) === this.#ownId()) continue;
      const { claim } = file;
      if (context.isAlive(claim.pid, claim.startTime)) continue;
      const lives =
        claim.instance !== null && context.isAlive(claim.instance.pid, claim.instance.startTime);
      // That of an earlier agent of ours still guards its instance, until we wrote it into our own.
      if (!lives || isRecorded) await this.#files.removeFile(file.path);
    }
  }

  async #releaseOne(thing: LockThing): Promise<void> {
    const held = this.#held.get(keyText(thing));
    if (held === undefined) return;
    this.#held.delete(keyText(thing));
    await this.#files.remove(held.key, claimId(held.claim));
  }

  #ownId(): string {
    return claimId({ pid: this.#options.pid, startTime: this.#startTime });
  }

  #context(): ClaimContext {
    const { host, root } = this.#options;
    return {
      own: { pid: this.#options.pid, startTime: this.#startTime },
      root,
      isAlive: (pid, startTime) => host.isAlive(pid, startTime),
      accountOf: (pid) => host.accountOf(pid),
    };
  }
}

function keyText(thing: LockThing): string {
  return thing.kind === "gpu" ? `gpu ${thing.uuid}` : `port ${thing.port}`;
}

function thingText(thing: LockThing): string {
  return thing.kind === "gpu" ? `GPU ${thing.uuid}` : `port ${thing.port}`;
}

function refusalText(thing: LockThing, other: Claim): string {
  const who = `${thingText(thing)} is in use by ${other.name} of the agent in ${other.root}`;
  const process =
    other.instance === null
      ? `process ${other.pid}`
      : `processes ${other.pid} and ${other.instance.pid}`;
  return `${who} (${process}): stop that agent and its instances, or give each agent cards and ports of its own`;
}
