import type { ControlPlaneLink } from "@holdfast/contract";
import type { Clock, Failpoints, Random } from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import type { Instance } from "./instance.ts";
import type { AgentLimits } from "./limits.ts";
import type { InstanceControl } from "./instance-control.ts";
import type { Session } from "./reporter.ts";
import type { Spool } from "./spool.ts";
import type { Warmth } from "./warmth.ts";

/** What an attempt is made of. */
export interface AttemptDeps {
  readonly instance: Instance;
  readonly link: ControlPlaneLink;
  readonly spool: Spool;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  readonly limits: AgentLimits;
  readonly failpoints: Failpoints;
  readonly session: () => Session | undefined;
  /** Input files that this process of the instance has. */
  readonly uploaded: Set<string>;
  /** Which models this process of the instance has in memory. */
  readonly warmth: Warmth;
  /** Ends and starts processes of instances; undefined where none of them is ours. */
  readonly control: InstanceControl | undefined;
  /** Why nothing is begun on the instance now that is not there already; undefined: it is. */
  readonly ending: () => "displaced" | "drain" | undefined;
  /** Resolves when no other attempt of ours is in the instance's queue, and none will be. */
  readonly reserve: () => Promise<void>;
  /**
   * Calls `restart` when nothing of ours is on the instance, files to fetch included; not at all when
   * another attempt's restart has served for this one too. Resolves with why there was none; at once,
   * without one, when the signal is aborted before its turn.
   */
  readonly restart: (
    restart: () => Promise<string | undefined>,
    signal: AbortSignal,
  ) => Promise<string | undefined>;
  /** A slot became free, or the attempt began to run. */
  readonly onChange: () => void;
}
