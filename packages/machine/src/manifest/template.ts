/** What is known of a machine when its first `machine.yaml` is written. */
export interface TemplateFacts {
  /** Whether GPUs were found. */
  readonly hasGpu: boolean;
  /** A ComfyUI that is there already, as an absolute path; null to have one cloned. */
  readonly adoptFolder: string | null;
  /** Its Python; null for the usual places in it. */
  readonly adoptPython: string | null;
}

/** The ComfyUI release that the facts about ComfyUI here were taken on. */
const COMFYUI_REF = "v0.3.64";

/** The commented `machine.yaml` that `holdfast machine init` writes. It reads without a warning. */
export function manifestTemplate(facts: TemplateFacts): string {
  const isAdopted = facts.adoptFolder !== null;
  return [
    HEAD,
    isAdopted ? adopted(facts.adoptFolder, facts.adoptPython) : CLONED,
    isAdopted ? "" : environment(facts.hasGpu),
    CONTENT,
    instances(facts.hasGpu),
    SERVICES,
  ]
    .filter((part) => part !== "")
    .join("\n");
}

const HEAD = `# What this machine should be. Every key: docs/machine-yaml.md.
# \`holdfast machine plan\` says what would be done, \`holdfast machine install\` does it.
version: 1
`;

const CLONED = `# ComfyUI: any git URL, and a tag or commit of it. A branch moves with every update.
comfyui:
  repo: https://github.com/comfyanonymous/ComfyUI.git
  ref: ${COMFYUI_REF}
`;

function adopted(folder: string, python: string | null): string {
  const own =
    python === null
      ? "    # python: /path/to/python   # without it: venv or .venv in the folder\n"
      : `    python: ${JSON.stringify(python)}\n`;
  return `# A ComfyUI that is there already: it is started from there and never written to.
comfyui:
  adopt:
    folder: ${JSON.stringify(folder)}
${own}`;
}

function environment(hasGpu: boolean): string {
  const backend = hasGpu
    ? "  backend: auto   # by the driver; or cu126, cu128, cu130, rocm6.4, cpu"
    : "  backend: cpu    # no GPU was found when this was written; auto chooses by the driver";
  return `# All packages are resolved together: ComfyUI's, those of the packs, and these.
python:
  version: "3.11"
  packages:         # what ComfyUI imports and its requirements do not name
    - requests
  # constraints:    # hold for every package of every pack
  #   - numpy<3

torch:
${backend}
`;
}

const CONTENT = `# Custom nodes, each pinned to a tag or commit.
nodes:
  # - name: ComfyUI-Example
  #   repo: https://github.com/example/ComfyUI-Example.git
  #   ref: v1.2.3
  #   classes: [ExampleNode]   # fails the installation when they are not there
  #   optional: true           # told, but fails nothing

# Models: the SHA-256 says what is meant, the URL where it comes from.
models:
  # - folder: checkpoints
  #   name: example.safetensors
  #   url: https://example.com/example.safetensors
  #   sha256: "${"0".repeat(64)}"
  #   licence: { name: Example Licence, accepted: false }

modelFolders:
  # root: /data/models         # without it: models of the machine folder
  # extraPaths:                # further folders, only read
  #   - name: shared
  #     basePath: /mnt/models
  #     folders: { checkpoints: checkpoints, loras: loras }

downloads:
  parallel: 3
  # auth:                      # a token is named by its file, never written here
  #   - host: huggingface.co
  #     tokenFile: /etc/holdfast/huggingface-token
`;

function instances(hasGpu: boolean): string {
  const devices = hasGpu
    ? `  gpus: all                    # or a list of indices and UUIDs; or none
  cpu: auto                    # one if there is no GPU`
    : `  gpus: none                   # no GPU was found when this was written; or all
  cpu: 1`;
  return `# One ComfyUI per GPU, on basePort + the GPU's index.
instances:
${devices}
  basePort: 8188
  # flags: [--lowvram]
  # threads: 8
  # vramReserveGb: 1
  # recycleAboveMb: 24000      # started anew between jobs over this
  # overrides:
  #   comfyui-gpu0:
  #     flags: [--highvram]
`;
}

const SERVICES = `# Other services of this machine: a process, or something that is only looked at.
services:
  # - name: captioner
  #   process: { command: [/usr/bin/python3, -m, captioner] }
  #   check: { url: "http://127.0.0.1:9200/health" }

# The health server. Loopback only; another host needs a tokenFile.
health:
  host: 127.0.0.1
  # port: 9090
`;
