/**
 * Named instants in the life of a job at which chaos tests may stop the world. In production every
 * hit is a resolved no-op; `HOLDFAST_FAILPOINTS` (see `runtime/system`) arms them in a test process.
 */
export interface Failpoints {
  /** Called between two steps that a crash may separate; resolves when the test lets it go on. */
  hit(name: string): Promise<void> | undefined;
}

/** What production uses: nothing is ever armed. */
export const NO_FAILPOINTS: Failpoints = { hit: () => undefined };
