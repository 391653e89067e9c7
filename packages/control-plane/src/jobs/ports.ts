/** What the jobs need of other features; `app.ts` fills it. */
import type { EventType } from "@holdfast/contract";
import type { Graph, PromisedOutput } from "@holdfast/comfyui/protocol";
import type { ResolveInputs } from "../files/model.ts";
import type { Needs } from "../machines/model.ts";
import type { StrictValidation } from "../machines/service.ts";
import type { Job } from "./model.ts";
import type { JobExpectation } from "./view.ts";

/** A job that was queued: what it waits for, so that a poll that can serve it is woken. */
export interface QueuedNeeds {
  readonly id: number;
  /** Null when only the requirement's id is at hand. */
  readonly needs: Needs | null;
}

/** Numbers of the fleet for `GET /api/v1/stats`. */
export interface FleetNumbers {
  readonly instances: {
    readonly total: number;
    readonly healthy: number;
    readonly busy: number;
  };
  readonly machines: { readonly total: number; readonly online: number };
}

/** See the members. Those that tell something are called after commit and must not throw. */
export interface JobsPorts {
  /** The caller's files behind the names in its graph. */
  readonly resolveInputs: ResolveInputs;
  /** Whether any known machine would accept the graph (`?validate=strict`). */
  readonly validateStrictly: (graph: Graph) => Promise<StrictValidation>;
  /**
   * The output nodes of a graph by what machines declare, when this package's own table finds none;
   * undefined when no machine knows all its classes.
   */
  readonly declaredOutputs: (graph: Graph) => Promise<readonly PromisedOutput[] | undefined>;
  /** Refuses a webhook's URL that points where it must not: throws `url_forbidden`. */
  readonly checkWebhookUrl: (url: string) => Promise<void>;
  /** Jobs were queued: one entry a job. */
  readonly onQueued: (requirements: readonly QueuedNeeds[]) => void;
  /** Leases of these machines were ended by a cancel. */
  readonly onRevoked: (machineIds: readonly string[]) => void;
  /** Events of these types were written: readers of the outbox may look. */
  readonly onEvents: (written: readonly EventType[]) => void;
  readonly fleetNumbers: () => Promise<FleetNumbers>;
  /** What is expected of jobs that have not ended, by their ids; left out where nothing is known. */
  readonly expectations: (jobs: readonly Job[]) => Promise<ReadonlyMap<string, JobExpectation>>;
}
