import type { Lease } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import type { AttemptDeps } from "./attempt-deps.ts";
import type { Instance } from "./instance.ts";
import type { InstanceControl } from "./instance-control.ts";

/** Has the instance of an attempt restarted; why it could not be, undefined when it is well. */
export async function restartFor(
  { attemptId }: Pick<Lease, "attemptId">,
  deps: Pick<AttemptDeps, "clock" | "control" | "instance" | "limits" | "log"> & {
    readonly signal: AbortSignal;
  },
): Promise<string | undefined> {
  const { control, instance, limits, log } = deps;
  const facts = { attemptId, instance: instance.key };
  if (control?.canRestart(instance.key) !== true) {
    log.warn(facts, "asked to restart an instance that is not ours, went on without");
    return undefined;
  }
  log.warn(facts, "instance is restarted for an attempt");
  const reason = "the recovery of a job asks for it";
  const failure = await restartInstance({ ...deps, control, reason, withinMs: limits.restartMs });
  if (failure !== undefined) log.error({ ...facts, failure }, "instance could not be restarted");
  return failure;
}

/**
 * Has an instance restarted, and waits until the new process has proved itself in a deep check.
 * Resolves with why it could not be; undefined when it is well. Rejects when the signal is aborted.
 */
export async function restartInstance(deps: {
  readonly control: InstanceControl;
  readonly instance: Pick<Instance, "demandProof" | "facts" | "key" | "untilReady">;
  readonly clock: Clock;
  readonly withinMs: number;
  readonly reason: string;
  readonly signal: AbortSignal;
}): Promise<string | undefined> {
  const { control, instance, clock, withinMs, signal } = deps;
  const endsAt = clock.elapsed() + withinMs;
  const late = new AbortController();
  const onAbort = (): void => late.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  const over = new AbortController();
  clock.sleep(withinMs, over.signal).then(
    () => late.abort(new Error(`it took longer than ${withinMs} ms`)),
    () => undefined, // It was in time.
  );
  try {
    await control.restart(instance.key, deps.reason, late.signal);
  } catch (error) {
    signal.throwIfAborted();
    return `The instance could not be restarted: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    over.abort(new Error("the restart is over"));
    signal.removeEventListener("abort", onAbort);
  }
  // Whatever was known of the process is known of the old one.
  instance.demandProof();
  if (await instance.untilReady(Math.max(0, endsAt - clock.elapsed()), signal)) return undefined;
  const { state, reason } = instance.facts();
  return `The instance was restarted and did not become healthy in ${withinMs} ms: it is ${state}, ${reason ?? "without a reason"}.`;
}
