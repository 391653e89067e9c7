/** Prompts of ours that we took out of an instance's queue; the latest are remembered. */
export class StoppedPrompts {
  readonly #ids = new Set<string>();

  add(promptId: string): void {
    this.#ids.add(promptId);
    const [oldest] = this.#ids;
    if (this.#ids.size > REMEMBERED && oldest !== undefined) this.#ids.delete(oldest);
  }

  /** That its history says "interrupted" is our doing, and nobody's failure. */
  has(promptId: string): boolean {
    return this.#ids.has(promptId);
  }
}

/** A lease that comes again for one of them does so within its own short life. */
const REMEMBERED = 64;
