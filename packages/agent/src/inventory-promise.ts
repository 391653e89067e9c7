import type { Inventory } from "@holdfast/contract";

/** Why an inventory is less than was promised of its instance; null when nothing is missing. */
export type InventoryPromise = (inventory: Inventory) => string | null;

/** A promise, looked at once for each inventory: whoever asks, asks often. */
export class KeptPromise {
  readonly #promise: InventoryPromise | undefined;
  #last: { readonly inventory: Inventory; readonly reason: string | null } | undefined;

  constructor(promise: InventoryPromise | undefined) {
    this.#promise = promise;
  }

  /** Another process answers now, of which something else may be promised: it is looked at anew. */
  forget(): void {
    this.#last = undefined;
  }

  /** Why it is broken; null while it is not, or nothing was promised or is known. */
  brokenBy(inventory: Inventory | undefined): string | null {
    if (this.#promise === undefined || inventory === undefined) return null;
    if (this.#last?.inventory !== inventory) {
      this.#last = { inventory, reason: reasonOf(this.#promise, inventory) };
    }
    return this.#last.reason;
  }
}

/** A promise that cannot be looked at is not kept: nobody would notice otherwise. */
function reasonOf(promise: InventoryPromise, inventory: Inventory): string | null {
  try {
    return promise(inventory);
  } catch (error) {
    return `what was promised could not be looked at: ${error instanceof Error ? error.message : String(error)}`;
  }
}
