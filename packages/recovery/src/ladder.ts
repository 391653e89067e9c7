import type { ErrorClass } from "./error-class.ts";

/** How much of the result a rung may change. Ordered from nothing to everything. */
export const LOSS_LEVELS = ["none", "pixels", "size", "content"] as const;

/** One of {@link LOSS_LEVELS}. */
export type LossLevel = (typeof LOSS_LEVELS)[number];

/** One way to go on after a failure. Data for people and for the planner; it does nothing by itself. */
export interface Rung {
  /** Stable name, for policies, statistics and the timeline. */
  readonly name: string;
  readonly loss: LossLevel;
  /** What it does, in words. */
  readonly does: string;
}

const RUNGS = {
  free_memory: ["none", "free the instance's memory, check that it came back, try there again"],
  more_vram: ["none", "an instance with more free VRAM"],
  split_batch: ["none", "render the batch in parts and put the images back together"],
  tiled_vae: ["pixels", "decode in tiles"],
  reduce_params: ["content", "smaller batch, then size, then steps"],
  adjust_params: ["content", "change the parameters that the operator's pattern names"],
  restart_instance: ["none", "restart the instance, try there again"],
  more_ram: ["none", "a machine with more memory"],
  resume_same: ["none", "resume from the last checkpoint on the same instance if it lives"],
  resume_elsewhere: ["none", "resume from the last checkpoint on another instance"],
  longer_limit: ["none", "once more with a longer limit, if progress was steady"],
  instance_with_model: ["none", "an instance that has the model"],
  fetch_model: ["none", "fetch the model to this machine"],
  same_model_other_name: ["none", "the same model under another name"],
  switch_model: ["content", "another model that is there, of the same family first"],
  instance_with_node: ["none", "an instance that has the node"],
  install_node: ["none", "install the node pack"],
  wait_and_retry: ["none", "ask whether it did run, wait, try again"],
  elsewhere: ["none", "another instance"],
  elsewhere_with_room: ["none", "a machine with room; the full one takes no new jobs"],
  quarantine_file: ["none", "elsewhere; set the file aside here and fetch it again"],
  quarantine_gpu: ["none", "elsewhere; set the GPU aside when it fails again and again"],
  validate_again: ["none", "validate once more, without GPU time"],
  needs_regeneration: ["none", "flag it, with the field, the value and what would be valid"],
  repair_environment: ["none", "install or pin what is missing, restart"],
  read_credential_again: ["none", "read the credential again, once"],
  same_once: ["none", "the same instance, once"],
  elsewhere_once: ["none", "another instance, once"],
  alert: ["none", "tell somebody"],
  abort: ["none", "end the job with its evidence"],
} as const satisfies Record<string, readonly [LossLevel, string]>;

/** The name of a built-in rung. */
export type RungName = keyof typeof RUNGS;

/** The built-in ladders: for every class its rungs, in the order they are tried. */
export const LADDERS: Readonly<Record<ErrorClass, readonly Rung[]>> = {
  cuda_out_of_memory: rungs(
    "free_memory",
    "more_vram",
    "split_batch",
    "tiled_vae",
    "reduce_params",
  ),
  host_out_of_memory: rungs("restart_instance", "more_ram", "reduce_params"),
  timeout: rungs("resume_same", "resume_elsewhere", "restart_instance", "longer_limit"),
  model_missing: rungs(
    "instance_with_model",
    "fetch_model",
    "same_model_other_name",
    "switch_model",
  ),
  node_missing: rungs("instance_with_node", "install_node", "abort"),
  network_error: rungs("wait_and_retry"),
  disk_full: rungs("elsewhere_with_room", "abort"),
  corrupt_model: rungs("quarantine_file", "switch_model"),
  gpu_fault: rungs("restart_instance", "quarantine_gpu"),
  instance_crash: rungs("resume_elsewhere"),
  workflow_error: rungs("validate_again", "needs_regeneration"),
  dependency_error: rungs("elsewhere", "repair_environment", "abort"),
  permission_error: rungs("elsewhere", "repair_environment", "abort"),
  auth_error: rungs("read_credential_again", "abort"),
  interrupted: rungs("same_once", "alert"),
  unknown: rungs("same_once", "elsewhere_once", "abort"),
  not_an_error: [],
};

function rungs(...names: readonly RungName[]): readonly Rung[] {
  return names.map((name) => ({ name, loss: RUNGS[name][0], does: RUNGS[name][1] }));
}
