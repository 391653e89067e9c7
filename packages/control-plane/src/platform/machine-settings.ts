/** Settings of single machines and of the fleet that they are. */
import { integerSetting, numberSetting, optionalTextSetting, secretSetting } from "./config.ts";

/** What is wrong with an address; undefined when nothing is. */
export function checkHttpUrl(value: string): string | undefined {
  return /^https?:\/\/[^/\s]+/.test(value) ? undefined : "expected an http:// or https:// address";
}

function checkFile(value: string): string | undefined {
  return value.trim() === "" ? "expected a path" : undefined;
}

function checkPort(value: string): string | undefined {
  const isPort = /^\d{1,5}$/.test(value.trim()) && Number(value) <= 65_535;
  return isPort ? undefined : "expected a port, 0 to 65535 (0 takes any free one)";
}

/** Settings of a machine: its installer and its health server. */
export const MACHINE_SETTINGS = {
  machineManifest: optionalTextSetting(
    {
      env: "HOLDFAST_MACHINE_MANIFEST",
      flag: "manifest",
      meaning:
        "What this machine should be. Default: `machine.yaml` in the home folder, where there is one.",
    },
    checkFile,
  ),
  machineName: optionalTextSetting(
    {
      env: "HOLDFAST_MACHINE_NAME",
      flag: "name",
      meaning: "What this machine is called. Default: its host name.",
    },
    checkFile,
  ),
  machineDir: optionalTextSetting(
    {
      env: "HOLDFAST_MACHINE_DIR",
      flag: "machine-dir",
      meaning:
        "Folder for all that is installed on the machine. Default: `machine` in the home folder.",
    },
    checkFile,
  ),
  healthHost: optionalTextSetting({
    env: "HOLDFAST_HEALTH_HOST",
    flag: "health-host",
    meaning:
      "Address of the machine's health server. Default: `health.host` of the manifest, else 127.0.0.1. Any but loopback needs a token.",
  }),
  healthPort: optionalTextSetting(
    {
      env: "HOLDFAST_HEALTH_PORT",
      flag: "health-port",
      meaning:
        "Port of the machine's health server. Default: `health.port` of the manifest, else 9090 or the next free one.",
    },
    checkPort,
  ),
  healthTokenFile: optionalTextSetting(
    {
      env: "HOLDFAST_HEALTH_TOKEN_FILE",
      meaning: "File with the token that guards the machine's health server.",
    },
    checkFile,
  ),
  enrollToken: secretSetting({
    env: "HOLDFAST_ENROLL_TOKEN",
    meaning: "One-time token by which an agent gets its own key (`holdfast keys enroll`).",
  }),
  uvProgram: optionalTextSetting(
    {
      env: "HOLDFAST_UV",
      meaning: "A uv to use. Default: the one on PATH, else one is installed for the machine.",
    },
    checkFile,
  ),
  pm2Program: optionalTextSetting(
    {
      env: "HOLDFAST_PM2",
      meaning: "A PM2 to use. Default: one is installed for the machine.",
    },
    checkFile,
  ),
  nvidiaSmiProgram: optionalTextSetting(
    { env: "HOLDFAST_NVIDIA_SMI", meaning: "The nvidia-smi to use. Default: the one on PATH." },
    checkFile,
  ),
};

/** Settings of the fleet. */
export const FLEET_SETTINGS = {
  fleetFile: optionalTextSetting(
    {
      env: "HOLDFAST_FLEET_FILE",
      flag: "fleet",
      meaning:
        "What the fleet should be: pools of machines to start and end. Default: `fleet.yaml` in the home folder, where there is one.",
    },
    checkFile,
  ),
  publicUrl: optionalTextSetting(
    {
      env: "HOLDFAST_PUBLIC_URL",
      flag: "public-url",
      meaning:
        "Address at which machines of the fleet reach the control plane. Default: the one that it listens on.",
    },
    checkHttpUrl,
  ),
  maxWorkerFailureRate: numberSetting(
    {
      env: "MAX_WORKER_FAILURE_RATE",
      meaning: "Share of failed machines from which no new machine is started.",
    },
    { over: 0, max: 1, default: 0.8 },
  ),
  failureWindowMinutes: numberSetting(
    {
      env: "FAILURE_WINDOW_MINUTES",
      unit: "minutes",
      meaning: "How long a machine that ended counts for the failure rate.",
    },
    { over: 0, max: 10_080, default: 30 },
  ),
  minWorkersForRateCheck: integerSetting(
    {
      env: "MIN_WORKERS_FOR_RATE_CHECK",
      unit: "machines",
      meaning: "With fewer machines in the window the failure rate is not checked.",
    },
    { min: 1, max: 10_000, default: 5 },
  ),
  gpuIdleTimeoutSec: integerSetting(
    {
      env: "GPU_IDLE_TIMEOUT_SEC",
      unit: "seconds",
      meaning: "A machine of the fleet without a heartbeat for so long has failed.",
    },
    { min: 60, max: 86_400, default: 300 },
  ),
};
