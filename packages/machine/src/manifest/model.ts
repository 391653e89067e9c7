/**
 * `machine.yaml`: what a machine should be. Every key is checked, unknown ones are refused, and every
 * default is written here, so that the rest of the package takes typed values.
 */
import { z } from "zod";

/** Version of the manifest that this program reads. */
export const MANIFEST_VERSION = 1;

/** Longest text of any single value. */
const TEXT_MAX = 2_048;
/** Most entries of any list. */
const LIST_MAX = 1_000;

const text = z.string().min(1).max(TEXT_MAX);
/** A name that becomes a file, a folder or a process: no separators, no leading dot or dash. */
export const safeName = z
  .string()
  .max(128)
  .regex(
    /^[A-Za-z0-9_][A-Za-z0-9._+-]*$/,
    "expected letters, digits, '.', '_', '+' or '-', not beginning with '.' or '-'",
  );
/** A path below a root: no part of it is `..`, it is not absolute, and has no backslash. */
export const relativePath = z
  .string()
  .min(1)
  .max(512)
  .refine(
    (path) =>
      !path.startsWith("/") &&
      !/[\\\0]/.test(path) &&
      !/^[A-Za-z]:/.test(path) &&
      path.split("/").every((part) => part !== "" && part !== "." && part !== ".."),
    "expected a relative path with '/' between its parts, and no part '.' or '..'",
  );
const absolutePath = z.string().max(1_024).startsWith("/", "expected an absolute path");
/** A branch, tag or commit. */
const gitRef = z
  .string()
  .max(256)
  .regex(/^(?!-)[^\s~^:?*[\\]+$/, "expected a branch, tag or commit");
/** Anything `git clone` takes: https, ssh, file, or a path; never an option or a transport helper. */
const gitUrl = z
  .string()
  .max(TEXT_MAX)
  .regex(
    /^(?:(?:https?|ssh|git|file):\/\/\S+|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:\S+|\/\S+)$/,
    "expected a git URL (https://, ssh://, git://, file://, user@host:path) or an absolute path",
  );
const httpUrl = z
  .string()
  .max(TEXT_MAX)
  .regex(/^https?:\/\/\S+$/, "expected an http:// or https:// URL");
const fileOrHttpUrl = z
  .string()
  .max(TEXT_MAX)
  .regex(/^(?:https?:\/\/|file:\/\/\/)\S+$/, "expected an http://, https:// or file:/// URL");
const sha256 = z
  .string()
  .regex(/^[0-9a-fA-F]{64}$/, "expected the SHA-256 as 64 hexadecimal digits")
  .transform((hash) => hash.toLowerCase());
const envName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "expected the name of an environment variable");
const environment = z.record(envName, z.string().max(TEXT_MAX));
const seconds = (fallback: number, max = 86_400) =>
  z.number().positive().max(max).default(fallback);

const checkoutSchema = z.strictObject({
  repo: gitUrl,
  ref: gitRef,
});

/** ComfyUI itself: cloned by the installer, or a folder that is there already and is never written to. */
const comfyuiSchema = z.union([
  checkoutSchema,
  z.strictObject({
    /** A ComfyUI that somebody else installed. */
    adopt: z.strictObject({
      folder: absolutePath,
      /** Its Python; without one `venv/bin/python` or `.venv/bin/python` in the folder. */
      python: absolutePath.optional(),
    }),
  }),
]);

const pythonSchema = z.strictObject({
  /** As uv takes it: a version (`3.11`), or the path of an interpreter. */
  version: text.default("3.11"),
  /** Replaces PyPI. */
  indexUrl: httpUrl.optional(),
  extraIndexUrls: z.array(httpUrl).max(20).default([]),
  /** Folders or pages with wheels. */
  findLinks: z.array(text).max(20).default([]),
  /** Takes packages from `findLinks` alone. */
  noIndex: z.boolean().default(false),
  /** Holds for every package of every pack: one cannot break another's. */
  constraints: z.array(text).max(LIST_MAX).default([]),
  /** Installed beside the requirements. */
  packages: z.array(text).max(LIST_MAX).default([]),
});

const torchSchema = z.strictObject({
  /** `auto` chooses by the driver; `none` leaves torch to the requirements. */
  backend: z
    .string()
    .regex(
      /^(?:auto|none|cpu|cu\d{2,3}|rocm\d+(?:\.\d+)*)$/,
      "expected auto, none, cpu, cu126, rocm6.4, …",
    )
    .default("auto"),
  /** Where the backend's wheels are; without it PyTorch's own index for that backend. */
  indexUrl: httpUrl.optional(),
  packages: z.array(text).max(20).default(["torch", "torchvision", "torchaudio"]),
});

const nodePackSchema = z.strictObject({
  /** Its folder below `custom_nodes`. */
  name: safeName,
  repo: gitUrl,
  ref: gitRef,
  /** Requirement files below the pack; without it `requirements.txt`, where there is one. */
  requirements: z.array(relativePath).max(20).optional(),
  /** Runs `install.py` where there is one. */
  installScript: z.boolean().default(true),
  /** Classes it has to bring; their absence fails the installation. */
  classes: z.array(text).max(LIST_MAX).default([]),
  /** One that cannot be installed or imported is told, and does not fail the installation. */
  optional: z.boolean().default(false),
});

const modelSchema = z.strictObject({
  /** Folder below the model root: `checkpoints`, `loras`, … */
  folder: relativePath,
  /** File name, with `/` for folders below. */
  name: relativePath,
  url: fileOrHttpUrl,
  sha256,
  /** Known size, to check the disk before anything is fetched. */
  sizeBytes: z.int().positive().optional(),
  /** One that cannot be fetched is told, and does not fail the installation. */
  optional: z.boolean().default(false),
  /** `on_demand`: fetched when a job needs it. */
  fetch: z.enum(["always", "on_demand"]).default("always"),
  /** Fetched only once somebody has written `accepted: true`. */
  licence: z
    .strictObject({ name: text, url: httpUrl.optional(), accepted: z.boolean() })
    .optional(),
});

const modelRootSchema = z.strictObject({
  /** Where models are fetched to, shared by all instances; without it `models` of the machine folder. */
  root: absolutePath.optional(),
  /** Further folders, read only: entries of ComfyUI's `extra_model_paths.yaml`. */
  extraPaths: z
    .array(
      z.strictObject({
        name: safeName,
        basePath: absolutePath,
        folders: z.record(safeName, relativePath),
      }),
    )
    .max(50)
    .default([]),
});

const repositorySchema = z.strictObject({
  name: safeName,
  repo: gitUrl,
  ref: gitRef,
  /** Linked there, below the machine folder's `shared` (e.g. `input/assets`). */
  linkTo: relativePath.optional(),
});

const downloadsSchema = z.strictObject({
  parallel: z.int().min(1).max(32).default(3),
  /** Bearer tokens by host; each is sent to that host alone, also after redirects. */
  auth: z
    .array(
      z.strictObject({
        host: z.string().min(1).max(253),
        tokenFile: absolutePath,
        header: z
          .string()
          .regex(/^[A-Za-z0-9-]+$/)
          .default("Authorization"),
        scheme: z.string().max(64).default("Bearer"),
      }),
    )
    .max(20)
    .default([]),
  /** Free space that must be left on the disk. */
  keepFreeBytes: z
    .int()
    .min(0)
    .default(2 * 1024 ** 3),
});

const instanceOptions = {
  /** Further arguments for ComfyUI. */
  flags: z.array(z.string().max(TEXT_MAX)).max(100).optional(),
  env: environment.optional(),
  /** Left to others on the card: `--reserve-vram`. */
  vramReserveGb: z.number().min(0).max(1_024).optional(),
  /** Threads of each numeric library. */
  threads: z.int().min(1).max(1_024).optional(),
  /** Started anew between jobs when its memory is over this. */
  recycleAboveMb: z.int().min(64).optional(),
  /** Ended at once over this, whatever it does. */
  memoryLimitMb: z.int().min(64).optional(),
};

const instancesSchema = z.strictObject({
  /** `all` that are found; or by index or UUID; `none` on a machine without. */
  gpus: z
    .union([z.enum(["all", "none"]), z.array(z.union([z.int().min(0), text])).max(64)])
    .default("all"),
  /** Instances without a GPU. `auto`: one when there is no GPU. */
  cpu: z.union([z.literal("auto"), z.int().min(0).max(64)]).default("auto"),
  /** The instance of GPU n listens on this + n; CPU instances follow. */
  basePort: z.int().min(1).max(65_000).default(8_188),
  host: z.string().min(1).max(253).default("127.0.0.1"),
  ...instanceOptions,
  /** A process that does not answer so long after its start is ended. */
  startTimeoutSec: seconds(300),
  /** How long a render may go on after the end was asked for. */
  drainSec: seconds(300),
  /** From SIGINT to SIGKILL. */
  stopTimeoutSec: seconds(20, 3_600),
  /** For single instances, by their name (`comfyui-gpu0`). */
  overrides: z.record(safeName, z.strictObject(instanceOptions)).default({}),
});

const checkSchema = z.strictObject({
  url: httpUrl,
  /** Statuses that are well; without it any of 200 to 299. */
  expectStatus: z.array(z.int().min(100).max(599)).max(20).optional(),
  timeoutSec: seconds(5, 60),
  everySec: seconds(15, 3_600),
  /** Failures in a row that make it unhealthy. */
  failures: z.int().min(1).max(100).default(2),
});

const extraServiceSchema = z.strictObject({
  name: safeName,
  enabled: z.boolean().default(true),
  /** A process of the machine's; without it, something that runs elsewhere and is only looked at. */
  process: z
    .strictObject({
      command: z.array(text).min(1).max(200),
      cwd: absolutePath.optional(),
      env: environment.default({}),
      stopTimeoutSec: seconds(10, 3_600),
    })
    .optional(),
  check: checkSchema.optional(),
  /** Services that it needs. */
  dependsOn: z.array(safeName).max(50).default([]),
});

const healthSchema = z.strictObject({
  host: z.string().min(1).max(253).default("127.0.0.1"),
  port: z.int().min(0).max(65_535).optional(),
  /** Needed as soon as `host` is not of the loopback. */
  tokenFile: absolutePath.optional(),
});

/** The whole of `machine.yaml`. Cross-field rules are in `manifest/rules.ts`. */
export const manifestSchema = z.strictObject({
  version: z.literal(MANIFEST_VERSION),
  comfyui: comfyuiSchema.optional(),
  python: pythonSchema.prefault({}),
  torch: torchSchema.prefault({}),
  nodes: z.array(nodePackSchema).max(LIST_MAX).default([]),
  models: z
    .array(modelSchema)
    .max(LIST_MAX * 10)
    .default([]),
  modelFolders: modelRootSchema.prefault({}),
  repositories: z.array(repositorySchema).max(LIST_MAX).default([]),
  downloads: downloadsSchema.prefault({}),
  instances: instancesSchema.prefault({}),
  services: z.array(extraServiceSchema).max(100).default([]),
  health: healthSchema.prefault({}),
});

/** A manifest with all its defaults. */
export type Manifest = z.output<typeof manifestSchema>;
/** A pack of custom nodes that a manifest asks for. */
export type NodePack = Manifest["nodes"][number];
/** A model that a manifest asks for. */
export type ModelEntry = Manifest["models"][number];
/** A git repository that a manifest asks for beside ComfyUI and its nodes. */
export type SharedRepository = Manifest["repositories"][number];
/** A service beside ComfyUI. */
export type ExtraService = Manifest["services"][number];
/** How a service is looked at. */
export type ServiceCheck = z.output<typeof checkSchema>;
