import type { MlflowClient } from "../client/client.ts";
import type { MlflowResult } from "../client/trouble.ts";

/** The experiment of a log in MLflow. */
export interface Experiment {
  /** Its id: looked up, or made, once. */
  id(signal: AbortSignal): Promise<MlflowResult<string>>;
  /** It may not be what it was. */
  forget(): void;
}

/** Makes an {@link Experiment} of this name. */
export function createExperiment(client: MlflowClient, name: string): Experiment {
  let known: string | undefined;
  return {
    async id(signal) {
      if (known !== undefined) return { kind: "ok", value: known };
      const found = await client.ensureExperiment(name, signal);
      if (found.kind === "ok") known = found.value;
      return found;
    },
    forget() {
      known = undefined;
    },
  };
}
