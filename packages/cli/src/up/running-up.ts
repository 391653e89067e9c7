import type { Agent } from "@holdfast/agent";
import type { ControlPlane } from "@holdfast/control-plane";
import type { Machine } from "@holdfast/machine";
import type { SimulatorChild } from "./simulator-child.ts";

/** What `up` runs. */
export interface RunningUp {
  readonly controlPlane: ControlPlane;
  readonly simulator: SimulatorChild | undefined;
  readonly urls: readonly string[];
  /** What the fleet may start and end, in words; undefined without a fleet. */
  readonly fleet: string | undefined;
  /** The machine, once its agent was started. */
  machine(): Machine | undefined;
  /** An agent alone, for as long as whoever asked for it needs it. */
  startTrial(urls: readonly string[]): Promise<Agent>;
  startAgent(urls: readonly string[]): Promise<Machine>;
}
