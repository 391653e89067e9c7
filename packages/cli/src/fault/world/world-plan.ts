/** What a scenario wants of its world. */
export interface WorldPlan {
  readonly comfyuis: number;
  /** One machine with all ComfyUIs; otherwise each has its own. */
  readonly isOneMachine: boolean;
  readonly replicas: 1 | 2;
  /** Settings of the control plane. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Speed of the simulated cards; default 0, at once. */
  readonly timeScale?: number;
  /** Clocks that are off: of the agents, and of the second replica. */
  readonly skew?: { readonly agentMs: number; readonly replicaMs: number };
  /** Share of packets that can be lost between callers and ComfyUI. */
  readonly lossShare?: number;
}
