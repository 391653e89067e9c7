import type { Abortable } from "@holdfast/runtime";

/**
 * Starts and ends the processes of instances: the supervisor, where there is one. An instance that
 * belongs to somebody else cannot be restarted.
 */
export interface InstanceControl {
  /** Whether the instance with this base URL is ours to restart. Cheap. */
  canRestart(url: string): boolean;
  /**
   * Ends the process and starts another; resolves when that one runs, though it may not answer yet.
   * Rejects, in words for a person, when it could not. Nothing of ours is on the instance meanwhile.
   */
  restart(url: string, reason: string, signal: Abortable): Promise<void>;
}
