import type { Agent } from "@holdfast/agent";
import type { ControlPlane } from "@holdfast/control-plane";
import type { SimulatorChild } from "./simulator-child.ts";

/** What `up` runs. */
export interface RunningUp {
  readonly controlPlane: ControlPlane;
  readonly simulator: SimulatorChild | undefined;
  readonly urls: readonly string[];
  startAgent(urls: readonly string[]): Promise<Agent>;
}
