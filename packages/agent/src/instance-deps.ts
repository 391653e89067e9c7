import type {
  ComfyClientOptions,
  ComfySocketOptions,
  ComfyTimeouts,
  SocketEvent,
} from "@holdfast/comfyui";
import type { InstanceState } from "@holdfast/contract";
import type { Clock, Random } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import type { InventoryPromise } from "./inventory-promise.ts";
import type { AgentLimits } from "./limits.ts";

/** How bytes travel to a ComfyUI and back; whatever is left out is done over the network. */
export type ComfyTransport = Pick<ComfyClientOptions, "dispatcher"> &
  Pick<ComfySocketOptions, "openSocket">;

/** What an instance is made of. */
export interface InstanceDeps {
  /** Base URL of the ComfyUI; the instance's stable key as well. */
  readonly url: string;
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  readonly limits: AgentLimits;
  readonly timeouts: Partial<ComfyTimeouts>;
  readonly transport: ComfyTransport;
  /** The check prompt that an earlier life of the agent left in the history, if any. */
  readonly marker: string | undefined;
  /** Why what it has is not what was promised of it; null when it is. */
  readonly promise: InventoryPromise | undefined;
  readonly onMarker: (promptId: string) => void;
  /** Attempts of ours are under way: checks stay out of their way. */
  readonly isBusy: () => boolean;
  readonly onSocket: (event: SocketEvent) => void;
  /** Another process answers, or none: every prompt is gone with the old one (F12). */
  readonly onReplaced: (reason: string) => void;
  /** State, readiness or inventory changed. */
  readonly onChange: () => void;
}

/** What an instance says of itself. */
export interface InstanceFacts {
  readonly state: InstanceState;
  readonly reason: string | null;
  /** It could start a prompt now: it answers, and no check is due. */
  readonly isReady: boolean;
  readonly inventoryDigest: string | null;
  readonly vramFreeBytes: number | null;
  /** Whether a new process could be well where this one is not; missing: nobody knows. */
  readonly isMendedByRestart?: boolean;
  /** Prompts wait in its queue and nothing runs them (F26). */
  readonly isStuck?: boolean;
}
