/** What the supervisor needs to know of the host's processes and ports; Linux behind it, a fake in tests. */

/** Who listens on a port. */
export interface PortListener {
  /** Null for a process that this account may not look at. */
  readonly pid: number | null;
  readonly command: string;
  /** It was started as an instance of this machine folder. */
  readonly isOurs: boolean;
  /** Of ours: the instance's name and the digest of its spec. */
  readonly instance: string | null;
  readonly digest: string | null;
}

/** A process that was started as an instance of this machine folder; its children are not told. */
export interface FoundInstance {
  readonly pid: number;
  readonly startTime: string;
  readonly instance: string;
  readonly digest: string | null;
}

/** The host, without starting any program. */
export interface HostProcesses {
  /** With the pid it names one process for as long as the host runs; undefined when it is gone. */
  startTimeOf(pid: number): string | undefined;
  /** That very process lives. Costs one small read. */
  isAlive(pid: number, startTime: string): boolean;
  /** Account that a process runs as; undefined when that cannot be seen. */
  accountOf(pid: number): number | undefined;
  /** Port that an instance was started on, by its command line; undefined when that does not tell. */
  startedPortOf(pid: number): number | undefined;
  /** Whether somebody takes connections at the address of this URL. */
  isListening(url: string): Promise<boolean>;
  listenerOf(port: number): Promise<PortListener | undefined>;
  /** Every process that was started as an instance of this machine folder. */
  instances(): Promise<readonly FoundInstance[]>;
  /**
   * Memory of each process with all that it started, in bytes, without what the kernel can drop by
   * itself (mapped model files). Processes that are gone are left out.
   */
  residentBytes(pids: readonly number[]): Promise<ReadonlyMap<number, number>>;
  /**
   * Ends a process and all that it started: SIGINT, after `graceMs` SIGKILL. True when it is gone; false
   * when it outlived even that, or may not be ended by this account.
   */
  terminate(pid: number, startTime: string, graceMs: number): Promise<boolean>;
}
