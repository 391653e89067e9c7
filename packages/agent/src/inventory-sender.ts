import type { ControlPlaneLink } from "@holdfast/contract";
import { backoffMs, type Clock, type Random } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import type { KnownInventory } from "./instance-inventory.ts";
import { cleanDeep } from "./wire-text.ts";

/** What a sender is made of. */
export interface InventorySenderDeps {
  readonly link: Pick<ControlPlaneLink, "putInventory">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  /** The inventory of an instance that has this digest now. */
  readonly find: (digest: string) => KnownInventory | undefined;
  /** The control plane has one more: a poll may bring work that it did not before. */
  readonly onSent: () => void;
  readonly signal: AbortSignal;
}

interface Upload {
  readonly isUnderWay: boolean;
  readonly failures: number;
  /** Not to be sent again before this instant. */
  readonly notBefore: number;
}

/** An inventory may have many megabytes: whoever cannot take it now is not soon asked again. */
const BACKOFF = { initialMs: 1_000, maxMs: 300_000, factor: 2, jitter: 0.3 };
/** An answer that asks for it may have been on its way when it was sent. */
const SENT_REST_MS = 5_000;
/** Digests remembered; an instance has one at a time. */
const UPLOADS_MAX = 256;

/** Sends the inventories that the control plane asks for: each once at a time, failures with pauses. */
export class InventorySender {
  readonly #deps: InventorySenderDeps;
  readonly #uploads = new Map<string, Upload>();

  constructor(deps: InventorySenderDeps) {
    this.#deps = deps;
  }

  /** The control plane wants these; what is under way or resting is left alone. Never fails. */
  want(digests: readonly string[]): void {
    for (const digest of digests) {
      const upload = this.#uploads.get(digest);
      if (upload?.isUnderWay === true) continue;
      if (upload !== undefined && this.#deps.clock.elapsed() < upload.notBefore) continue;
      const known = this.#deps.find(digest);
      if (known !== undefined) void this.#send(digest, known, upload?.failures ?? 0);
    }
  }

  async #send(digest: string, known: KnownInventory, failures: number): Promise<void> {
    const { link, clock, random, log, signal } = this.#deps;
    this.#note(digest, { isUnderWay: true, failures, notBefore: Infinity });
    try {
      const objectInfo = cleanDeep(known.objectInfo) as Record<string, unknown>;
      await link.putInventory({ inventory: known.inventory, objectInfo }, signal);
      const notBefore = clock.elapsed() + SENT_REST_MS;
      this.#note(digest, { isUnderWay: false, failures: 0, notBefore });
      this.#deps.onSent();
    } catch (err) {
      const pauseMs = backoffMs(BACKOFF, failures + 1, random);
      const notBefore = clock.elapsed() + pauseMs;
      this.#note(digest, { isUnderWay: false, failures: failures + 1, notBefore });
      // A later poll asks for it again.
      if (!signal.aborted) log.warn({ err, digest, pauseMs }, "inventory could not be sent");
    }
  }

  #note(digest: string, upload: Upload): void {
    this.#uploads.delete(digest);
    this.#uploads.set(digest, upload);
    for (const [oldest, { isUnderWay }] of this.#uploads) {
      if (this.#uploads.size <= UPLOADS_MAX) break;
      if (!isUnderWay) this.#uploads.delete(oldest);
    }
  }
}
