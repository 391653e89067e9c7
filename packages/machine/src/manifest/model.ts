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
const repo = gitUrl.describe("A git URL, or the absolute path of a repository.");
const ref = gitRef.describe("A branch, tag or commit.");

const checkoutSchema = z.strictObject({ repo, ref });

/** ComfyUI itself: cloned by the installer, or a folder that is there already and is never written to. */
const comfyuiSchema = z.union([
  checkoutSchema,
  z.strictObject({
    adopt: z
      .strictObject({
        folder: absolutePath.describe("Where its `main.py` is."),
        python: absolutePath
          .optional()
          .describe("Its Python; without it `venv/bin/python` or `.venv/bin/python` there."),
      })
      .describe(
        "Instead of `repo` and `ref`: a ComfyUI that somebody else installed; never written to.",
      ),
  }),
]);

const pythonSchema = z.strictObject({
  version: text
    .default("3.11")
    .describe("As uv takes it: a version in quotes, or the path of an interpreter."),
  indexUrl: httpUrl.optional().describe("Replaces PyPI."),
  extraIndexUrls: z.array(httpUrl).max(20).default([]).describe("Asked beside it."),
  findLinks: z.array(text).max(20).default([]).describe("Folders or pages with wheels."),
  noIndex: z.boolean().default(false).describe("Takes packages from `findLinks` alone."),
  constraints: z
    .array(text)
    .max(LIST_MAX)
    .default([])
    .describe("Hold for every package of every pack: one cannot break another's."),
  packages: z
    .array(text)
    .max(LIST_MAX)
    .default([])
    .describe("Installed beside the requirements of ComfyUI and the packs."),
});

const torchSchema = z.strictObject({
  backend: z
    .string()
    .regex(
      /^(?:auto|none|cpu|cu\d{2,3}|rocm\d+(?:\.\d+)*)$/,
      "expected auto, none, cpu, cu126, rocm6.4, …",
    )
    .default("auto")
    .describe(
      "`auto` chooses by the driver; `none` leaves torch to the requirements; or `cpu`, `cu126`, `rocm6.4`, ….",
    ),
  indexUrl: httpUrl
    .optional()
    .describe("Where the backend's wheels are; without it PyTorch's own index for the backend."),
  packages: z
    .array(text)
    .max(20)
    .default(["torch", "torchvision", "torchaudio"])
    .describe("What is taken from there."),
});

const nodePackSchema = z.strictObject({
  name: safeName.describe("Its folder below `custom_nodes`."),
  repo,
  ref,
  requirements: z
    .array(relativePath)
    .max(20)
    .optional()
    .describe("Requirement files below the pack; without it `requirements.txt`, if there is one."),
  installScript: z.boolean().default(true).describe("Runs `install.py`, if there is one."),
  classes: z
    .array(text)
    .max(LIST_MAX)
    .default([])
    .describe("Node classes it has to bring; their absence fails the installation."),
  optional: z
    .boolean()
    .default(false)
    .describe("If it cannot be installed or imported, that is told and does not fail the rest."),
});

const modelSchema = z.strictObject({
  folder: relativePath.describe("Folder below the model root: `checkpoints`, `loras`, …."),
  name: relativePath.describe("File name, with `/` for folders below."),
  url: fileOrHttpUrl.describe("Where it is fetched from; a copy on this machine is `file:///…`."),
  sha256: sha256.describe("SHA-256 of the file: what arrives otherwise is refused."),
  sizeBytes: z
    .int()
    .positive()
    .optional()
    .describe("Its size, to check the disk before anything is fetched."),
  optional: z
    .boolean()
    .default(false)
    .describe("If it cannot be fetched, that is told and does not fail the rest."),
  fetch: z
    .enum(["always", "on_demand"])
    .default("always")
    .describe("`on_demand`: fetched when a job needs it."),
  licence: z
    .strictObject({
      name: text.describe("As its publisher calls it."),
      url: httpUrl.optional().describe("Where it can be read."),
      accepted: z.boolean().describe("Whether somebody who may has accepted it."),
    })
    .optional()
    .describe("A licence that must be accepted first: fetched only once `accepted` is true."),
});

const modelRootSchema = z.strictObject({
  root: absolutePath
    .optional()
    .describe("Where models are fetched to; without it `models` of the machine folder."),
  extraPaths: z
    .array(
      z.strictObject({
        name: safeName.describe("Name of the entry."),
        basePath: absolutePath.describe("Folder that the others are below."),
        folders: z
          .record(safeName, relativePath)
          .describe("Folder name of ComfyUI (`checkpoints`) to the path below `basePath`."),
      }),
    )
    .max(50)
    .default([])
    .describe("Further folders, only read: entries of ComfyUI's `extra_model_paths.yaml`."),
});

const repositorySchema = z.strictObject({
  name: safeName.describe("Its folder below `repositories` of the machine folder."),
  repo,
  ref,
  linkTo: relativePath
    .optional()
    .describe("Linked there, below `shared` of the machine folder (`input/assets`)."),
});

const downloadsSchema = z.strictObject({
  parallel: z.int().min(1).max(32).default(3).describe("Files fetched at a time."),
  auth: z
    .array(
      z.strictObject({
        host: z
          .string()
          .min(1)
          .max(253)
          .describe("Host name, with `:port` if it is not the usual."),
        tokenFile: absolutePath.describe("File that holds the token; never the token itself."),
        header: z
          .string()
          .regex(/^[A-Za-z0-9-]+$/, "expected the name of an HTTP header")
          .default("Authorization")
          .describe("Header that carries it."),
        scheme: z.string().max(64).default("Bearer").describe("Word before it; may be empty."),
      }),
    )
    .max(20)
    .default([])
    .describe("Tokens by host; each is sent to that host alone, also after redirects."),
  keepFreeBytes: z
    .int()
    .min(0)
    .default(2 * 1024 ** 3)
    .describe("Space on the disk that must stay free."),
});

const instanceOptions = {
  flags: z
    .array(z.string().max(TEXT_MAX))
    .max(100)
    .optional()
    .describe(
      "Further arguments for ComfyUI. In an override they take the place of the general ones.",
    ),
  env: environment
    .optional()
    .describe("Further environment. In an override it is merged, name by name."),
  vramReserveGb: z
    .number()
    .min(0)
    .max(1_024)
    .optional()
    .describe("Gigabytes of the card left to others: `--reserve-vram`."),
  threads: z.int().min(1).max(1_024).optional().describe("Threads of each numeric library."),
  recycleAboveMb: z
    .int()
    .min(64)
    .optional()
    .describe("MiB of memory over which it is started anew, between jobs."),
  memoryLimitMb: z
    .int()
    .min(64)
    .optional()
    .describe("MiB of memory over which it is ended at once, whatever it does."),
};

const instancesSchema = z.strictObject({
  gpus: z
    .union([z.enum(["all", "none"]), z.array(z.union([z.int().min(0), text])).max(64)])
    .default("all")
    .describe(
      "`all` that are found; `none`; or a list of indices and UUIDs. With `all`, a driver or cards that are ill give a problem, and no instance on the CPU instead.",
    ),
  cpu: z
    .union([z.literal("auto"), z.int().min(0).max(64)])
    .default("auto")
    .describe(
      "Instances without a GPU; `auto`: one if the machine has no GPU, and none if it has one that is ill or whose driver does not answer.",
    ),
  basePort: z
    .int()
    .min(1)
    .max(65_000)
    .default(8_188)
    .describe("The instance of GPU n listens on this + n; CPU instances follow."),
  host: z.string().min(1).max(253).default("127.0.0.1").describe("Address they listen on."),
  ...instanceOptions,
  startTimeoutSec: seconds(300).describe(
    "Seconds after its start at which a process that does not answer is ended.",
  ),
  drainSec: seconds(300).describe("Seconds a render may go on after the end was asked for."),
  stopTimeoutSec: seconds(20, 3_600).describe("Seconds from SIGINT to SIGKILL."),
  overrides: z
    .record(safeName, z.strictObject(instanceOptions))
    .default({})
    .describe(
      "For single instances, by name (`comfyui-gpu0`, `comfyui-gpu0-mig1`, `comfyui-cpu0`).",
    ),
});

const checkSchema = z.strictObject({
  url: httpUrl.describe("What is asked, with GET."),
  expectStatus: z
    .array(z.int().min(100).max(599))
    .max(20)
    .optional()
    .describe("Statuses that are well; without it 200 to 299."),
  timeoutSec: seconds(5, 60).describe("Seconds it may take."),
  everySec: seconds(15, 3_600).describe("Seconds between two."),
  failures: z
    .int()
    .min(1)
    .max(100)
    .default(2)
    .describe("Failures in a row that make it unhealthy."),
});

const extraServiceSchema = z.strictObject({
  name: safeName.describe("Its name in `/services`."),
  enabled: z.boolean().default(true).describe("Whether it is wanted here."),
  process: z
    .strictObject({
      command: z.array(text).min(1).max(200).describe("Program and arguments; no shell."),
      cwd: absolutePath.optional().describe("Folder it runs in."),
      env: environment.default({}).describe("Its environment, beside `PATH` and `HOME`."),
      stopTimeoutSec: seconds(10, 3_600).describe("Seconds from SIGINT to SIGKILL."),
    })
    .optional()
    .describe(
      "A process of this machine's; without it, something elsewhere that is only looked at.",
    ),
  check: checkSchema.optional().describe("How it is looked at; without it running is enough."),
  dependsOn: z.array(safeName).max(50).default([]).describe("Services that it needs."),
});

const healthSchema = z.strictObject({
  host: z.string().min(1).max(253).default("127.0.0.1").describe("Address of the health server."),
  port: z
    .int()
    .min(0)
    .max(65_535)
    .optional()
    .describe("Its port; without it 9090 or the next free one."),
  tokenFile: absolutePath
    .optional()
    .describe("File with the token that it asks for; needed as soon as `host` is not loopback."),
});

/** The whole of `machine.yaml`. Cross-field rules are in `manifest/rules.ts`. */
export const manifestSchema = z.strictObject({
  version: z.literal(MANIFEST_VERSION).describe("Version of this file's form."),
  comfyui: comfyuiSchema
    .optional()
    .describe("ComfyUI itself: `repo` and `ref` to clone, or `adopt`; without it none runs here."),
  python: pythonSchema.prefault({}).describe("The Python environment."),
  torch: torchSchema.prefault({}).describe("PyTorch, which has to fit the driver."),
  nodes: z.array(nodePackSchema).max(LIST_MAX).default([]).describe("Packs of custom nodes."),
  models: z
    .array(modelSchema)
    .max(LIST_MAX * 10)
    .default([])
    .describe("Models to fetch."),
  modelFolders: modelRootSchema.prefault({}).describe("Where models are."),
  repositories: z
    .array(repositorySchema)
    .max(LIST_MAX)
    .default([])
    .describe("Further git repositories, such as shared assets."),
  downloads: downloadsSchema.prefault({}).describe("How models are fetched."),
  instances: instancesSchema.prefault({}).describe("ComfyUI processes: one a GPU."),
  services: z.array(extraServiceSchema).max(100).default([]).describe("Services beside ComfyUI."),
  health: healthSchema.prefault({}).describe("The health server."),
});

/** A manifest with all its defaults. */
export type Manifest = z.output<typeof manifestSchema>;
/** A pack of custom nodes that a manifest asks for. */
export type NodePack = Manifest["nodes"][number];
/** A model that a manifest asks for. */
export type ModelEntry = Manifest["models"][number];
/** A service beside ComfyUI. */
export type ExtraService = Manifest["services"][number];
/** How a service is looked at. */
export type ServiceCheck = z.output<typeof checkSchema>;
