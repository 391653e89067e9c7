import type { ClientTrouble, ComfyClient } from "@holdfast/comfyui";
import type { ObjectInfo } from "@holdfast/comfyui/protocol";
import type { Inventory } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import { toInventory, withModelFacts } from "./inventory.ts";
import type { AgentLimits } from "./limits.ts";
import { ModelFactsReader } from "./model-facts.ts";
import { Waiters } from "./waiters.ts";

/** What an instance can run, for the control plane and for looking at graphs here. */
export interface KnownInventory {
  readonly inventory: Inventory;
  readonly objectInfo: ObjectInfo;
}

/** What an instance's inventory is made of. */
export interface InstanceInventoryDeps {
  readonly key: string;
  readonly client: Pick<ComfyClient, "systemStats" | "objectInfo" | "modelMetadata" | "modelSizes">;
  readonly clock: Clock;
  readonly limits: AgentLimits;
  readonly log: AgentLog;
  /** The model files have told more than before: the inventory is another one. */
  readonly onFacts: () => void;
  readonly signal: AbortSignal;
}

/**
 * What one instance has: classes and names at once, for nothing can run without them, and what the
 * model files say of themselves once that is read.
 */
export class InstanceInventory {
  readonly #deps: InstanceInventoryDeps;
  readonly #waiters = new Waiters();
  readonly #models: ModelFactsReader;
  #known: KnownInventory | undefined;
  #readAt = -Infinity;

  constructor(deps: InstanceInventoryDeps) {
    this.#deps = deps;
    this.#models = new ModelFactsReader({
      ...deps,
      onRead: () => {
        if (this.#known === undefined) return;
        this.#keep(this.#known.inventory, this.#known.objectInfo);
        deps.onFacts();
      },
    });
  }

  known(): KnownInventory | undefined {
    return this.#known;
  }

  /** Whether it was read a short while ago, from the process that answers now. */
  isFresh(): boolean {
    return this.ageMs() < this.#deps.limits.inventoryEveryMs;
  }

  /** Since it was read. */
  ageMs(): number {
    return this.#deps.clock.elapsed() - this.#readAt;
  }

  /** What was read is old: it is read again at the next look, and stays in force until then. */
  expire(): void {
    this.#readAt = -Infinity;
  }

  /** Another process answers: all of it is to be read again, and stays in force until it is. */
  outdate(): void {
    this.expire();
    this.#models.forget();
  }

  /** Resolves when node classes are known, undefined when they are not in time; rejects when aborted. */
  async waitFor(withinMs: number, signal: AbortSignal): Promise<KnownInventory | undefined> {
    const { clock } = this.#deps;
    await this.#waiters.until(() => this.#known !== undefined, { clock, withinMs, signal });
    return this.#known;
  }

  /** Reads classes and names; what was in the way when it could not. */
  async read(): Promise<ClientTrouble | undefined> {
    const { client, clock, key, log, signal } = this.#deps;
    const stats = await client.systemStats(signal);
    if (stats.kind !== "ok") return stats;
    const info = await client.objectInfo(signal);
    if (info.kind !== "ok") return info;
    const { inventory, omitted } = toInventory(info.objectInfo, stats.stats);
    const before = this.#known?.inventory.digest;
    const { digest } = this.#keep(inventory, info.objectInfo);
    if (omitted > 0 && digest !== before) {
      log.warn({ instance: key, omitted }, "names left out of the inventory");
    }
    this.#readAt = clock.elapsed();
    this.#waiters.notify();
    return undefined;
  }

  /** Reads what the model files say of themselves, where that is not known: later, and in its own time. */
  readModelFacts(): void {
    if (this.#known !== undefined) this.#models.read(this.#known.inventory.models);
  }

  #keep(inventory: Inventory, objectInfo: ObjectInfo): Inventory {
    const full = withModelFacts(inventory, this.#models.factsOf(inventory.models));
    this.#known = { inventory: full, objectInfo };
    return full;
  }
}
