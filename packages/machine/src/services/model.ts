/**
 * The six states of a service (CONTRACTS C3), told apart without its help, and what is reported of it.
 */

/** In the order in which a service goes through them. */
export const SERVICE_STATES = [
  "not_configured",
  "not_installed",
  "stopped",
  "starting",
  "unhealthy",
  "healthy",
] as const;
/** One of {@link SERVICE_STATES}. */
export type ServiceState = (typeof SERVICE_STATES)[number];

/** Whether what a service needs on the disk is there. Told apart from whether it runs. */
export interface InstallationStatus {
  /** `none`: it needs nothing. `broken`: an installation was tried and failed. */
  readonly state: "none" | "missing" | "installing" | "installed" | "broken";
  /** In words: what is missing, what is being done, why it failed. */
  readonly detail: string | null;
  /** What is installed: the release's id; null where there is none. */
  readonly version: string | null;
}

/** Whether it runs. */
export interface RuntimeStatus {
  /** `elsewhere`: not our process, only looked at. `crash_loop`: ended too often, not started again. */
  readonly state: "stopped" | "starting" | "running" | "stopping" | "crash_loop" | "elsewhere";
  readonly pid: number | null;
  readonly startedAt: number | null;
  /** Starts since this program began, the first one not counted. */
  readonly restarts: number;
  readonly detail: string | null;
}

/** What the last check of a running service came to. */
export interface CheckStatus {
  /** `none`: it has no check, running is enough. `pending`: none has come to an end since its start. */
  readonly state: "none" | "pending" | "passing" | "failing";
  readonly detail: string | null;
  /** Epoch ms of the last one; null before it. */
  readonly checkedAt: number | null;
}

/** Everything that decides a service's state. */
export interface ServiceFacts {
  readonly isConfigured: boolean;
  readonly installation: InstallationStatus;
  readonly runtime: RuntimeStatus;
  readonly check: CheckStatus;
}

/** A service that another needs, and how it is. */
export interface DependencyHealth {
  readonly name: string;
  readonly state: ServiceState;
}

/** One change of state. */
export interface ServiceTransition {
  readonly at: number;
  readonly from: ServiceState | null;
  readonly to: ServiceState;
  readonly reason: string;
}

/** A service as `GET /services` tells it. */
export interface ServiceReport extends ServiceFacts {
  readonly name: string;
  /** `comfyui`: all instances together. */
  readonly kind: "installer" | "comfyui" | "instance" | "process" | "check";
  readonly state: ServiceState;
  readonly reason: string;
  /** Epoch ms since when it has been in this state. */
  readonly since: number;
  readonly dependencies: readonly DependencyHealth[];
  /** The last ones, oldest first. */
  readonly transitions: readonly ServiceTransition[];
  /** What is particular to its kind: port, GPU, release, … */
  readonly details: Readonly<Record<string, unknown>>;
}

/**
 * A service as the registry sees it: facts on demand, cheap and without waiting (whoever owns the
 * service keeps them current), and a change told.
 */
export interface ServiceSource {
  readonly name: string;
  readonly kind: ServiceReport["kind"];
  readonly dependsOn: readonly string[];
  facts(): ServiceFacts;
  details(): Readonly<Record<string, unknown>>;
  /** Log files, newest last written; empty when it has none. */
  logFiles(): readonly string[];
}
