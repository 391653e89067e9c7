import type { AgentLog } from "@holdfast/agent";
import type { Clock, Random } from "@holdfast/runtime";
import type { MachinePlaces } from "../machine-places.ts";
import type { ExitExplainer } from "../process-manager/exit-evidence.ts";
import type { ProcessManager } from "../process-manager/model.ts";
import type { FailurePolicy } from "./failure-record.ts";
import type { InstanceLocks } from "./host-locks.ts";
import type { HostProcesses } from "./host-processes.ts";
import type { InstanceFiles } from "./instance-files.ts";
import type { PlannedGpu, InstanceRunner } from "./model.ts";
import type { HostAccount } from "./process-spec.ts";
import type { SupervisionPolicy } from "./supervision.ts";

/** Pace and limits of the supervisor, in milliseconds. */
export interface SupervisorPolicy extends SupervisionPolicy, FailurePolicy {
  /** Between two looks at the instances. */
  readonly tickMs: number;
  /** Between two probes of the port of an instance that is healthy: the runner asks it more often. */
  readonly probeEveryMs: number;
  /** The process manager is asked on every change, and after this without one. */
  readonly listEveryMs: number;
  /** Between two looks at their memory, where one has a limit of it. */
  readonly memoryEveryMs: number;
  /** The same where none has: only to be shown. Each reads the table of all processes. */
  readonly memoryShownEveryMs: number;
  /** A call of the process manager may take so long. */
  readonly callMs: number;
  /** After a call of the process manager that failed. */
  readonly managerRetryMs: number;
  /** Healthy for so long: the next instance may have its turn. */
  readonly settleMs: number;
  /** Between two attempts at a lock that another holds, and two looks for what holds a port. */
  readonly blockedRetryMs: number;
}

/** What a machine runs with. */
export const DEFAULT_SUPERVISOR_POLICY: SupervisorPolicy = {
  tickMs: 1_000,
  probeEveryMs: 30_000,
  listEveryMs: 60_000,
  memoryEveryMs: 10_000,
  memoryShownEveryMs: 60_000,
  callMs: 60_000,
  managerRetryMs: 5_000,
  settleMs: 3_000,
  blockedRetryMs: 3_000,
  unhealthyMs: 30_000,
  silentMs: 30_000,
  recycleRestMs: 300_000,
  backoff: { initialMs: 1_000, factor: 2, maxMs: 60_000, jitter: 0.2 },
  minUptimeMs: 60_000,
  loopFailures: 5,
  loopWindowMs: 600_000,
  loopRetryMs: 600_000,
};

/** A release that did not work out. */
export interface ReleaseFailure {
  /** Id of the release that was wanted. */
  readonly release: string;
  /** The instance that did not become healthy on it. */
  readonly instance: string;
  readonly reason: string;
}

/** Settings of the supervisor. */
export interface SupervisorOptions {
  readonly places: MachinePlaces;
  readonly account: HostAccount;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  readonly manager: ProcessManager;
  /** Why a process ended; without it only that it did is told. */
  readonly exits?: ExitExplainer;
  readonly host: HostProcesses;
  readonly runner: InstanceRunner;
  readonly locks: InstanceLocks;
  /** What runs on a card goes on, also while nothing can be started there. Cheap; without it, it does not. */
  readonly cardRunsOn?: (gpu: { readonly index: number; readonly uuid: string | null }) => boolean;
  /** Takes the place of the disk. */
  readonly files?: InstanceFiles;
  readonly policy?: Partial<SupervisorPolicy>;
  /** Why nothing can be done on a card; null when it can. Looked at each second: cheap. */
  readonly cardFault?: (gpu: PlannedGpu) => string | null;
  /** The status of this instance is another now. */
  readonly onChange?: (name: string) => void;
  /**
   * An instance was started from another release, or other settings, and did not become healthy. No
   * other is touched until `setDesired` is called again; called once for each failure.
   */
  readonly onReleaseFailed?: (failure: ReleaseFailure) => void;
}
