/** Does one after the other, whatever fails; what failed. */
export async function endAll(...ends: readonly (() => Promise<unknown>)[]): Promise<unknown[]> {
  const failures: unknown[] = [];
  for (const end of ends) {
    try {
      await end();
    } catch (error) {
      failures.push(error);
    }
  }
  return failures;
}

/** Throws them as one, in words; nothing when there are none. */
export function throwFailures(what: string, failures: readonly unknown[]): void {
  if (failures.length === 0) return;
  const words = failures.map((one) => (one instanceof Error ? one.message : String(one)));
  throw new AggregateError(failures, `${what}: ${words.join("; ")}`);
}
