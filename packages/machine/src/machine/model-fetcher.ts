import type { ModelName } from "../install/models/model-target.ts";
import type { InstallerParts } from "./installer-parts.ts";

/** Fetches models by the parts of one manifest, until that is replaced. */
export class ModelFetcher {
  readonly #parts: Pick<InstallerParts, "fetch">;
  readonly #over = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(parts: Pick<InstallerParts, "fetch">) {
    this.#parts = parts;
  }

  /** Throws in words when it cannot be had, and when its end comes first. */
  async fetch(name: ModelName, signal: AbortSignal): Promise<void> {
    const fetching = this.#parts.fetch(name, AbortSignal.any([signal, this.#over.signal]));
    this.#running.add(fetching);
    try {
      await fetching;
    } finally {
      this.#running.delete(fetching);
    }
  }

  /** Ends what is being fetched; whoever asks anew goes on where it was. The parts may be closed then. */
  async end(): Promise<void> {
    this.#over.abort(new Error("another manifest is taken into force; it is fetched after that"));
    await Promise.allSettled(this.#running);
  }
}
