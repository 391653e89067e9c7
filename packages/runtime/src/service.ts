/** Something that runs: started once, stopped once, in order. */
export interface Service {
  readonly name: string;
  /** Resolves when it is ready; rejects when it cannot be, leaving nothing behind. */
  start(): Promise<void>;
  /** Resolves when everything it started has ended. Safe to call twice, or before `start`. */
  stop(): Promise<void>;
}

/**
 * Starts services in order. When one fails, those already started are stopped, last first, and the
 * failure is thrown.
 */
export async function startInOrder(services: readonly Service[]): Promise<void> {
  const started: Service[] = [];
  for (const service of services) {
    try {
      await service.start();
      started.push(service);
    } catch (error) {
      await stopInOrder(started);
      throw error;
    }
  }
}

/** Stops services, last first. One that fails to stop does not keep the others from it. */
export async function stopInOrder(services: readonly Service[]): Promise<void> {
  const failures: unknown[] = [];
  for (const service of [...services].reverse()) {
    try {
      await service.stop();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, "some services did not stop cleanly");
}
