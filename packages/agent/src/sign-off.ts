import { SIGNED_OFF, type ControlPlaneLink, type InstanceReport } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import { slept } from "./pause.ts";
import type { Session } from "./reporter.ts";

/** What a sign-off needs. */
export interface SignOffDeps {
  readonly link: Pick<ControlPlaneLink, "poll">;
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly limitMs: number;
}

/**
 * Tells the control plane that no instance takes work from here on, so that no job waits for this
 * machine. Never fails: the heartbeat's time-out tells the same, later.
 */
export async function signOff(
  session: Session,
  reports: readonly InstanceReport[],
  deps: SignOffDeps,
): Promise<void> {
  const instances = reports.map((report) => ({
    ...report,
    state: "stopped" as const,
    reason: SIGNED_OFF,
    wants: 0,
  }));
  const late = new AbortController();
  const done = new AbortController();
  const limit = slept(deps.clock, deps.limitMs, done.signal).then(() => late.abort());
  try {
    // The last of this session: it ends every poll that is still under way.
    const sequence = Number.MAX_SAFE_INTEGER;
    await deps.link.poll({ ...session, sequence, instances, held: [], waitMs: 0 }, late.signal);
  } catch (err) {
    deps.log.debug({ err }, "could not sign off");
  } finally {
    done.abort();
    await limit;
  }
}
