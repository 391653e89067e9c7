import type { Clock } from "@holdfast/runtime";

/** Lets everything stand still for a while, as a garbage collection does (F29). */
export class Pause {
  readonly #clock: Clock;
  #current: Promise<void> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Begins a pause, or adds to the one that is on. */
  begin(ms: number): void {
    const before = this.#current ?? Promise.resolve();
    const own = before
      .then(() => this.#clock.sleep(ms))
      .then(() => {
        if (this.#current === own) this.#current = undefined;
      });
    this.#current = own;
  }

  /** Resolves when the pause is over; undefined when there is none. */
  untilOver(): Promise<void> | undefined {
    return this.#current;
  }
}
