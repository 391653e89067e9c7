import {
  CHECKPOINT_RULE,
  DEFAULT_FALLBACK_MODELS,
  parseCustomPatterns,
  type CustomPattern,
} from "@holdfast/recovery";
import { join } from "node:path";
import { alerting } from "./alerting-settings.ts";
import { EXPERIMENT_SETTINGS } from "./experiment-settings.ts";
import {
  booleanSetting,
  choiceSetting,
  integerSetting,
  jsonFileSetting,
  listSetting,
  optionalIntegerSetting,
  optionalTextSetting,
  parseSettings,
  readSettingsFile,
  secretSetting,
  textSetting,
  type ParsedSettings,
  type SettingsOf,
} from "./config.ts";
import { LOG_LEVELS } from "./log.ts";
import { checkHttpUrl, FLEET_SETTINGS, MACHINE_SETTINGS } from "./machine-settings.ts";

/** What the default data folder depends on. */
export interface HomeFacts {
  readonly platform: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The user's own folder. */
  readonly userFolder: string;
}

/** The folder in the user's data directory where Holdfast keeps everything, by platform. Pure. */
export function defaultHome(facts: HomeFacts): string {
  const { env, platform, userFolder } = facts;
  if (platform === "darwin") return join(userFolder, "Library", "Application Support", "Holdfast");
  if (platform === "win32") {
    return join(env["LOCALAPPDATA"] ?? join(userFolder, "AppData", "Local"), "Holdfast");
  }
  const data = env["XDG_DATA_HOME"];
  // The XDG rules: a relative path is invalid and counts as not given.
  const base = data !== undefined && data.startsWith("/") ? data : join(userFolder, ".local/share");
  return join(base, "holdfast");
}

const MINUTE_MS = 60_000;

/** `s3://bucket` or `s3://bucket/prefix`, or any path. */
function checkStore(value: string): string | undefined {
  if (!value.includes("://")) return undefined;
  return /^s3:\/\/[a-z0-9][a-z0-9.-]+(?:\/.*)?$/.test(value)
    ? undefined
    : "expected a folder, or s3://bucket/prefix";
}

/** What a checkpoint's file is called by; a LoRA or a picture in the list is a slip. */
const CHECKPOINT_FILE = /[^/\\]\.(?:safetensors|ckpt|sft|pth?|gguf)$/i;

function checkFallback(value: string): string | undefined {
  return CHECKPOINT_FILE.test(value) && value.length <= 255
    ? undefined
    : `expected names of checkpoint files (.safetensors, .ckpt, .sft, .pt, .pth, .gguf), found ${JSON.stringify(value)}`;
}

const SECONDS_PER_DAY = 86_400;

function checkSeconds(value: string): string | undefined {
  return /^[0-9]{1,5}(?:\.[0-9]{1,3})?$/.test(value) && Number(value) <= SECONDS_PER_DAY
    ? undefined
    : `expected seconds, at most ${SECONDS_PER_DAY}, found ${JSON.stringify(value)}`;
}

function parsePatterns(value: unknown) {
  const parsed = parseCustomPatterns(value);
  if (parsed.kind === "ok") return { kind: "ok" as const, value: parsed.patterns };
  const problems = parsed.problems.map(({ path, message }) =>
    path === "" ? message : `${path}: ${message}`,
  );
  return { kind: "invalid" as const, problems };
}

const NO_PATTERNS: readonly CustomPattern[] = [];

const storage = (home: string) => ({
  home: textSetting(
    { env: "HOLDFAST_HOME", flag: "home", meaning: "Folder for everything Holdfast keeps." },
    {
      default: home,
      defaultInWords: "`holdfast` in the user's data directory",
      check: (value) => (value.trim() === "" ? "expected a folder" : undefined),
    },
  ),
  databaseUrl: secretSetting({
    env: "DATABASE_URL",
    meaning:
      "A Postgres of your own, instead of the embedded one. Needs sessions: no transaction pooling.",
  }),
  store: optionalTextSetting(
    {
      env: "HOLDFAST_STORE",
      flag: "store",
      meaning:
        "Where files are kept: a folder, or `s3://bucket/prefix`. Default: in the home folder.",
    },
    checkStore,
  ),
  s3Endpoint: optionalTextSetting(
    { env: "HOLDFAST_S3_ENDPOINT", meaning: "Address of an S3 server other than AWS." },
    checkHttpUrl,
  ),
  s3Region: textSetting(
    { env: "HOLDFAST_S3_REGION", meaning: "Region of the bucket." },
    { default: "us-east-1" },
  ),
  s3AccessKeyId: secretSetting({
    env: "HOLDFAST_S3_ACCESS_KEY_ID",
    meaning: "Access key. Without one the usual AWS sources are asked.",
  }),
  s3SecretAccessKey: secretSetting({
    env: "HOLDFAST_S3_SECRET_ACCESS_KEY",
    meaning: "The access key's secret.",
  }),
  s3ForcePathStyle: booleanSetting(
    {
      env: "HOLDFAST_S3_FORCE_PATH_STYLE",
      meaning: "Name the bucket in the path, as most servers other than AWS want it.",
    },
    true,
  ),
});

const network = {
  host: textSetting(
    {
      env: "HOLDFAST_HOST",
      flag: "host",
      meaning: "Address to listen on. Any but loopback needs an API key to exist.",
    },
    { default: "127.0.0.1" },
  ),
  port: integerSetting(
    { env: "HOLDFAST_PORT", flag: "port", meaning: "Port of the API and the pages." },
    { min: 0, max: 65_535, default: 8328 },
  ),
  maxBodyMb: integerSetting(
    { env: "HOLDFAST_MAX_BODY_MB", unit: "MB", meaning: "Largest JSON body." },
    { min: 1, max: 512, default: 32 },
  ),
  maxFileMb: integerSetting(
    { env: "HOLDFAST_MAX_FILE_MB", unit: "MB", meaning: "Largest input file or output." },
    { min: 1, max: 1_048_576, default: 4096 },
  ),
  allowPrivateUrls: textSetting(
    {
      env: "HOLDFAST_ALLOW_PRIVATE_URLS",
      meaning:
        "Hosts and address ranges in private networks that webhooks and inputs by URL may reach, separated by commas.",
    },
    { default: "" },
  ),
  rateLimitPerMinute: integerSetting(
    {
      env: "HOLDFAST_RATE_LIMIT_PER_MINUTE",
      unit: "requests per minute",
      meaning: "Requests a caller may make; 0 sets no limit.",
    },
    { min: 0, max: 10_000_000, default: 0 },
  ),
};

/** Stalls where no setting and no profile says otherwise. */
const DEFAULT_STALL_MS = 2 * MINUTE_MS;
const DEFAULT_FIRST_LOAD_STALL_MS = 5 * MINUTE_MS;

const work = {
  leaseTtlMs: integerSetting(
    {
      env: "HOLDFAST_LEASE_TTL_MS",
      unit: "ms",
      meaning: "How long a lease lasts without a renewal; then the job goes to another instance.",
    },
    { min: 1_000, max: 60 * MINUTE_MS, default: 30_000 },
  ),
  pollWaitMs: integerSetting(
    {
      env: "HOLDFAST_POLL_WAIT_MS",
      unit: "ms",
      meaning:
        "How long an agent's poll for work is held open; two thirds of a lease's time at most.",
    },
    { min: 100, max: 5 * MINUTE_MS, default: 20_000 },
  ),
  stallMs: optionalIntegerSetting(
    {
      env: "HOLDFAST_STALL_MS",
      unit: "ms",
      meaning:
        "No sign of progress from a running prompt for so long is a stall. Once it is set it holds for every graph; left out, profiles of graphs shorten and lengthen it.",
    },
    {
      min: 1_000,
      max: 24 * 60 * MINUTE_MS,
      defaultInWords: `${DEFAULT_STALL_MS}, or as the graph's profile says`,
    },
  ),
  firstLoadStallMs: optionalIntegerSetting(
    {
      env: "HOLDFAST_FIRST_LOAD_STALL_MS",
      unit: "ms",
      meaning: "The same until the first progress of an attempt: models may still be loading.",
    },
    {
      min: 1_000,
      max: 24 * 60 * MINUTE_MS,
      defaultInWords: `${DEFAULT_FIRST_LOAD_STALL_MS}, or as the graph's profile says`,
    },
  ),
  maxGraphNodes: integerSetting(
    { env: "HOLDFAST_MAX_GRAPH_NODES", unit: "nodes", meaning: "Largest graph." },
    { min: 1, max: 1_000_000, default: 10_000 },
  ),
  maxQueuedJobs: integerSetting(
    {
      env: "HOLDFAST_MAX_QUEUED_JOBS",
      unit: "jobs",
      meaning: "Jobs that may wait; over it submits are answered 429.",
    },
    { min: 1, max: 100_000_000, default: 1_000_000 },
  ),
  eventRetentionHours: integerSetting(
    {
      env: "HOLDFAST_EVENT_RETENTION_HOURS",
      unit: "hours",
      meaning: "How long events are kept for streams to resume from.",
    },
    { min: 1, max: 87_600, default: 168 },
  ),
  jobRetentionHours: integerSetting(
    {
      env: "HOLDFAST_JOB_RETENTION_HOURS",
      unit: "hours",
      meaning:
        "How long completed and cancelled jobs are kept, with their outputs; 0 keeps them for ever.",
    },
    { min: 0, max: 876_000, default: 720 },
  ),
  failedJobRetentionHours: integerSetting(
    {
      env: "HOLDFAST_FAILED_JOB_RETENTION_HOURS",
      unit: "hours",
      meaning: "How long jobs are kept that failed or ran out of time; 0 keeps them for ever.",
    },
    { min: 0, max: 876_000, default: 2_160 },
  ),
  fileRetentionHours: integerSetting(
    {
      env: "HOLDFAST_FILE_RETENTION_HOURS",
      unit: "hours",
      meaning:
        "How long an uploaded input file is kept that no submit reads; 0 keeps it until it is deleted.",
    },
    { min: 0, max: 876_000, default: 0 },
  ),
  machineRetentionHours: integerSetting(
    {
      env: "HOLDFAST_MACHINE_RETENTION_HOURS",
      unit: "hours",
      meaning:
        "How long machines are listed of which nothing is heard, and instances that their agent names no more; 0 for ever.",
    },
    { min: 0, max: 876_000, default: 720 },
  ),
  batchRetentionHours: integerSetting(
    {
      env: "HOLDFAST_BATCH_RETENTION_HOURS",
      unit: "hours",
      meaning:
        "How long books are kept after their end, with what their pages came to; not before their jobs are gone. 0 keeps them for ever.",
    },
    { min: 0, max: 876_000, default: 8_760 },
  ),
  bookMaxRetries: integerSetting(
    {
      env: "COMFY_MAX_RETRIES",
      unit: "rounds",
      meaning:
        "Fresh rounds of a book's page whose job failed or ran out of time; then it is flagged. A book may say otherwise.",
    },
    { min: 0, max: 20, default: 3 },
  ),
  bookRetryBackoffSec: listSetting(
    {
      env: "COMFY_RETRY_BACKOFF_SEC",
      unit: "seconds",
      meaning: "Pauses before those rounds; the last repeats.",
    },
    checkSeconds,
    ["15", "45", "90"],
  ),
  parallelPages: booleanSetting(
    {
      env: "COMFY_ALLOW_PARALLEL_PAGES",
      meaning:
        "Whether pages of a book run beside each other; without it each waits for the one before. A book may say otherwise.",
    },
    true,
  ),
  comfyuiUrls: listSetting(
    {
      env: "COMFYUI_URL",
      flag: "comfyui",
      meaning: "Address of a running ComfyUI, or several.",
    },
    checkHttpUrl,
  ),
  maxRetryAttempts: integerSetting(
    {
      env: "MAX_RETRY_ATTEMPTS",
      unit: "attempts",
      meaning:
        "Attempts after the first that a job may spend on its own failures, and lossy changes of its graph.",
    },
    { min: 0, max: 100, default: 3 },
  ),
  modelWaitSeconds: integerSetting(
    {
      env: "HOLDFAST_MODEL_WAIT_SEC",
      unit: "seconds",
      meaning:
        "How long jobs wait for a model that no machine has before another takes its place, as far as their policies allow; ten times as long while one that has it is only unhealthy, unless it is the same file.",
    },
    { min: 0, max: 86_400, default: 60 },
  ),
  errorRecoveryEnabled: booleanSetting(
    {
      env: "ERROR_RECOVERY_ENABLED",
      meaning: "Whether failed jobs are recovered; without it the first failure ends a job.",
    },
    true,
  ),
  fallbackModels: listSetting(
    {
      env: "HOLDFAST_FALLBACK_MODELS",
      meaning:
        "Checkpoints that may stand in for one that is missing and has no other of its family, in this order; `,` for none.",
    },
    checkFallback,
    DEFAULT_FALLBACK_MODELS,
  ),
  errorPatterns: jsonFileSetting(
    {
      env: "HOLDFAST_ERROR_PATTERNS",
      meaning:
        "A list of custom error patterns, as `POST /api/error-recovery/patterns` takes them; those made by the API come before them.",
    },
    parsePatterns,
    NO_PATTERNS,
  ),
  slaBookWindow: integerSetting(
    {
      env: "HOLDFAST_SLA_BOOK_WINDOW",
      unit: "pages",
      meaning:
        "Pages of a book that are rendered at a time: the latency of a page counts from when its book had room for it.",
    },
    { min: 1, max: 10_000, default: 2 },
  ),
  recoveryStatisticsEnabled: booleanSetting(
    {
      env: "RECOVERY_STATISTICS_ENABLED",
      meaning: "Whether failed attempts are counted for the statistics of recovery.",
    },
    true,
  ),
  checkpoints: choiceSetting(
    {
      env: "HOLDFAST_CHECKPOINTS",
      meaning:
        "Whether latents of long samplers are put away, so that another instance can go on from them: `auto`, `off`, or `segments` (in the middle of a long euler, ddim or heun sampler too, within 1 of 255 of one piece). A job's policy goes before it.",
    },
    ["auto", "off", "segments"],
    "auto",
  ),
  checkpointMinWork: integerSetting(
    {
      env: "HOLDFAST_CHECKPOINT_MIN_WORK",
      meaning:
        "Steps × megapixels × pictures from which a sampler's latent is put away: under it, a file more costs more than what it saves.",
    },
    { min: 0, max: 1_000_000, default: CHECKPOINT_RULE.minWork },
  ),
  checkpointRetentionHours: integerSetting(
    {
      env: "CHECKPOINT_RETENTION_HOURS",
      unit: "hours",
      meaning:
        "How long checkpoints are kept; those of completed and cancelled jobs go within 6 hours.",
    },
    { min: 1, max: 8_760, default: 48 },
  ),
};

const logging = {
  logLevel: choiceSetting(
    { env: "HOLDFAST_LOG_LEVEL", flag: "log-level", meaning: "How much is logged." },
    LOG_LEVELS,
    "info",
  ),
  logFormat: choiceSetting(
    {
      env: "HOLDFAST_LOG_FORMAT",
      flag: "log-format",
      meaning: "`json` for machines, `pretty` for people; `auto` is pretty on a terminal.",
    },
    ["auto", "json", "pretty"],
    "auto",
  ),
};

/** Every setting of the control plane, in the order in which the documents list them. */
export function controlPlaneSettings(home: string) {
  return {
    ...storage(home),
    ...network,
    ...work,
    ...alerting,
    ...FLEET_SETTINGS,
    ...MACHINE_SETTINGS,
    ...EXPERIMENT_SETTINGS,
    ...logging,
  };
}

/** The control plane's settings, parsed. */
export type ControlPlaneSettings = SettingsOf<ReturnType<typeof controlPlaneSettings>>;

/** Stalls as they are set, or by default; `isFixed`: an operator set it, and no profile changes it. */
export function stallTimes(settings: Pick<ControlPlaneSettings, "firstLoadStallMs" | "stallMs">) {
  const { stallMs, firstLoadStallMs } = settings;
  return {
    progressMs: stallMs ?? DEFAULT_STALL_MS,
    firstLoadMs: firstLoadStallMs ?? DEFAULT_FIRST_LOAD_STALL_MS,
    isFixed: { progress: stallMs !== undefined, firstLoad: firstLoadStallMs !== undefined },
  };
}

/** Where the settings of a start come from. */
export interface SettingsInput extends HomeFacts {
  readonly flags?: Readonly<Record<string, unknown>>;
}

/** Name of the configuration file in the home folder. */
export const SETTINGS_FILE = "config.json";

/**
 * The control plane's settings from flags, environment and `config.json` in the home folder, or
 * every problem with them. The home folder itself cannot be set in that file.
 */
export function readControlPlaneSettings(
  input: SettingsInput,
): ParsedSettings<ControlPlaneSettings> {
  const shape = controlPlaneSettings(defaultHome(input));
  const sources = { env: input.env, ...(input.flags === undefined ? {} : { flags: input.flags }) };
  const homeOnly = parseSettings({ home: shape.home }, sources);
  if (homeOnly.kind === "invalid") return parseSettings(shape, sources);
  const file = readSettingsFile(join(homeOnly.settings.home, SETTINGS_FILE));
  if (file.kind === "invalid") {
    const problem = { name: SETTINGS_FILE, source: "file", message: file.message } as const;
    const others = parseSettings(shape, sources);
    return {
      kind: "invalid",
      problems: [problem, ...(others.kind === "invalid" ? others.problems : [])],
    };
  }
  return parseSettings(shape, { ...sources, file: file.values });
}
