import type { MlflowClient } from "../client/client.ts";
import type { MlflowResult, MlflowTrouble } from "../client/trouble.ts";

/** The experiment of a log in MLflow. */
export interface Experiment {
  /** Its id: looked up, or made, once. */
  id(signal: AbortSignal): Promise<MlflowResult<string>>;
  /** It may not be what it was. */
  forget(): void;
  /**
   * A call about one of its runs. One that is refused because the run is not there is made once more when
   * the experiment is found: it may have been in MLflow's bin until just now, with all its runs.
   */
  callOfRun<T>(call: () => Promise<MlflowResult<T>>, signal: AbortSignal): Promise<MlflowResult<T>>;
}

/** A refusal because the run (or, of a run to be made, the experiment) is deleted or unknown. */
export function isAboutRun(trouble: MlflowTrouble): boolean {
  if (trouble.kind !== "refused") return false;
  const { code, message } = trouble;
  return code === "RESOURCE_DOES_NOT_EXIST" || /must be in the 'active' state/.test(message);
}

/** Makes an {@link Experiment} of this name. */
export function createExperiment(client: MlflowClient, name: string): Experiment {
  let known: string | undefined;
  const experiment: Experiment = {
    async id(signal) {
      if (known !== undefined) return { kind: "ok", value: known };
      const found = await client.ensureExperiment(name, signal);
      if (found.kind === "ok") known = found.value;
      return found;
    },
    forget() {
      known = undefined;
    },
    async callOfRun(call, signal) {
      const result = await call();
      if (result.kind === "ok" || !isAboutRun(result)) return result;
      experiment.forget();
      const found = await experiment.id(signal);
      return found.kind === "ok" ? await call() : found;
    },
  };
  return experiment;
}
