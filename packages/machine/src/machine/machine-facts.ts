/** What the health server tells of a machine beside its services. Pure. */
import type { AgentStatus } from "@holdfast/agent";
import type { MachineFacts } from "../health-server/model.ts";

/** Where the control plane is, and what the agent knows of it. */
export interface ControlPlaneSight {
  /** Null: the machine works without one. */
  readonly url: string | null;
  readonly agent: Pick<AgentStatus, "isAnswered" | "isRegistered" | "isSuperseded">;
}

/** How the machine stands with its control plane. */
export function controlPlaneFacts({ url, agent }: ControlPlaneSight): MachineFacts["controlPlane"] {
  if (url === null) return { state: "none", url, detail: null };
  if (agent.isSuperseded) {
    const detail =
      "a newer agent process of this machine has taken over: this one takes no work any more";
    return { state: "disconnected", url, detail };
  }
  if (agent.isRegistered && agent.isAnswered) return { state: "connected", url, detail: null };
  const detail = agent.isRegistered
    ? "it does not answer now: it is asked again and again, and results are kept until it does"
    : "not registered now: it is tried again and again, and nothing else waits for it";
  return { state: "connecting", url, detail };
}

/** What is to be said of the manifest; every line is one that somebody should read. */
export interface ManifestSight {
  readonly path: string;
  readonly isApplied: boolean;
  /** Of the file. */
  readonly problems: readonly string[];
  /** Of what is served by it. */
  readonly servingProblems: readonly string[];
  /** Why the machine cannot be brought to it. */
  readonly trouble: string | null;
}

/** The manifest's part of what is told. */
export function manifestFacts(sight: ManifestSight): MachineFacts["manifest"] {
  const { path, isApplied, problems, servingProblems, trouble } = sight;
  return {
    path: !isApplied && problems.length === 0 ? null : path,
    problems: [...problems, ...servingProblems, ...(trouble === null ? [] : [trouble])],
  };
}
