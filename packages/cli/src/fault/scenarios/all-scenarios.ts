import type { Scenario } from "../scenario.ts";
import { postgresRestart, replicaKilled, storeDown } from "./control-plane.ts";
import { gpuOom } from "./memory.ts";
import { corruptModel, diskFull } from "./models-and-disk.ts";
import { networkBlip, serverErrors, socketLost } from "./network.ts";
import { comfyuiCrash, zombie } from "./processes.ts";
import { promptValidationFailure } from "./prompt-validation.ts";
import { artificialLatency, clockSkew, slowModelLoad } from "./times.ts";

/** Every scenario, those of every release check first. */
export const SCENARIOS: readonly Scenario[] = [
  promptValidationFailure,
  gpuOom,
  networkBlip,
  comfyuiCrash,
  artificialLatency,
  zombie,
  socketLost,
  serverErrors,
  corruptModel,
  diskFull,
  slowModelLoad,
  clockSkew,
  postgresRestart,
  replicaKilled,
  storeDown,
];
