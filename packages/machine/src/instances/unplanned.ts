import { callWithin } from "./call-limit.ts";
import type { SupervisorOptions, SupervisorPolicy } from "./supervisor-options.ts";

/** How the names of all instances begin. */
const INSTANCE_NAME = /^comfyui-(?:gpu|cpu)/;
/** Whether a process of this name is an instance, of whatever plan. */
export function isInstanceName(name: string): boolean {
  return INSTANCE_NAME.test(name);
}

/** From SIGINT to SIGKILL of a process whose plan is not known any more. */
const STOP_TIMEOUT_MS = 20_000;

/**
 * Ends instances that an earlier plan had, and that nothing is known of but that they run: each by
 * itself, whatever becomes of the others. Throws, after all was tried, what could not be ended; called
 * again it tries that again.
 */
export async function endUnplanned(
  options: SupervisorOptions & { readonly limits: SupervisorPolicy; readonly signal: AbortSignal },
  isPlanned: (name: string) => boolean,
): Promise<void> {
  const { manager, host, log, clock, limits, signal } = options;
  const limit = { clock, ms: limits.callMs, signal };
  const failures: unknown[] = [];
  const attempt = async (what: () => Promise<void>): Promise<void> => {
    if (!signal.aborted) await what().catch((err: unknown) => failures.push(err));
  };
  await attempt(async () => {
    const managed = await callWithin("the process manager", limit, (limited) =>
      manager.list(limited),
    );
    for (const { name } of managed) {
      if (isPlanned(name) || !isInstanceName(name)) continue;
      await attempt(async () => {
        log.info({ instance: name }, "instance of an earlier plan is ended");
        await callWithin(`the end of ${name}`, limit, (limited) => manager.remove(name, limited));
      });
    }
  });
  await attempt(async () => {
    for (const { instance, pid, startTime } of await host.instances()) {
      if (isPlanned(instance)) continue;
      await attempt(async () => {
        log.info({ instance, pid }, "process of an earlier plan is ended");
        if (await host.terminate(pid, startTime, STOP_TIMEOUT_MS)) return;
        throw new Error(`${instance} (pid ${pid}) is of an earlier plan, and could not be ended`);
      });
    }
  });
  if (failures.length === 0) return;
  const words = failures.map((one) => (one instanceof Error ? one.message : String(one)));
  throw new AggregateError(failures, words.join("; "));
}
