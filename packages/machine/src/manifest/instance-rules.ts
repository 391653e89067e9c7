/** Rules for instances: which there can be, their ports, arguments and environment. */
import { isLoopbackName } from "@holdfast/runtime/host";
import { joinFindings, type Finding, type Findings, type YamlPath } from "@holdfast/yaml-file";
import { whyImpossible } from "./instance-names.ts";
import type { Manifest } from "./model.ts";
import { flagProblem } from "./reserved-flags.ts";

type Instances = Manifest["instances"];
type Options = Instances["overrides"][string];

const PORT_MAX = 65_535;
/** Set for each instance by the GPU that it is bound to. */
const DEVICE_VARIABLES: readonly string[] = [
  "CUDA_VISIBLE_DEVICES",
  "CUDA_DEVICE_ORDER",
  "HIP_VISIBLE_DEVICES",
  "ROCR_VISIBLE_DEVICES",
];

/** What contradicts itself in `instances`. */
export function instanceRules({ instances, comfyui, health }: Manifest): Findings {
  const options = [
    optionRules(instances, ["instances"]),
    ...Object.entries(instances.overrides).map(([name, one]) =>
      optionRules(one, ["instances", "overrides", name]),
    ),
  ];
  return joinFindings([
    gpuRules(instances),
    portRules(instances, health.port),
    overrideRules(instances),
    ...options,
    hostRules(instances),
    { problems: [], warnings: comfyui === undefined ? [] : noneAtAll(instances) },
  ]);
}

function gpuRules({ gpus }: Instances): Findings {
  if (!Array.isArray(gpus)) return { problems: [], warnings: [] };
  const path = ["instances", "gpus"];
  const problems: Finding[] = [];
  if (gpus.length === 0) {
    problems.push({ path, message: "the list is empty: name GPUs, or write `none`" });
  }
  const seen = new Set<string>();
  for (const [index, gpu] of gpus.entries()) {
    const key = String(gpu).toLowerCase();
    if (seen.has(key)) {
      problems.push({ path: [...path, index], message: `GPU ${gpu} is named twice: remove one` });
    }
    seen.add(key);
    if (typeof gpu === "string" && !/^(?:GPU|MIG)-[0-9A-Za-z/-]+$/i.test(gpu)) {
      const message =
        `expected the index of a GPU, or a UUID as \`nvidia-smi -L\` tells it (GPU-…, MIG-…), ` +
        `found ${JSON.stringify(gpu)}`;
      problems.push({ path: [...path, index], message });
    }
  }
  return { problems, warnings: [] };
}

function portRules({ gpus, cpu, basePort }: Instances, healthPort: number | undefined): Findings {
  const indices = Array.isArray(gpus) ? gpus.filter((one) => typeof one === "number") : [];
  const highest = Math.max(-1, ...indices);
  const last = basePort + highest + (cpu === "auto" ? 0 : cpu);
  const problems: Finding[] = [];
  if (last > PORT_MAX) {
    const message = `the last instance would listen on ${last}, and ports end at ${PORT_MAX}: lower it`;
    problems.push({ path: ["instances", "basePort"], message });
  }
  const index = healthPort === undefined ? -1 : healthPort - basePort;
  if (healthPort !== undefined && (index === 0 || indices.includes(index))) {
    const message = `${healthPort} is the port of the instance of GPU ${index}: choose another`;
    problems.push({ path: ["health", "port"], message });
  }
  return { problems, warnings: [] };
}

function overrideRules(instances: Instances): Findings {
  const problems = Object.keys(instances.overrides).flatMap((name): Finding[] => {
    const why = whyImpossible(name, instances);
    if (why === undefined) return [];
    const path = ["instances", "overrides", name];
    return [{ path, message: `there can be no instance ${name}: ${why}` }];
  });
  return { problems, warnings: [] };
}

function optionRules(options: Options | Instances, path: YamlPath): Findings {
  const problems: Finding[] = [];
  const warnings: Finding[] = [];
  for (const [index, flag] of (options.flags ?? []).entries()) {
    const message = flagProblem(flag);
    if (message !== undefined) problems.push({ path: [...path, "flags", index], message });
  }
  for (const name of Object.keys(options.env ?? {})) {
    if (!DEVICE_VARIABLES.includes(name.toUpperCase())) continue;
    const message = `${name} is set by the GPU that an instance is bound to: use \`instances.gpus\``;
    problems.push({ path: [...path, "env", name], message });
  }
  const { recycleAboveMb, memoryLimitMb } = options;
  if (recycleAboveMb !== undefined && memoryLimitMb !== undefined) {
    if (recycleAboveMb >= memoryLimitMb) {
      const message =
        `an instance is ended at ${memoryLimitMb} MiB, in the middle of a job, ` +
        `before it is started anew at ${recycleAboveMb}: set it lower`;
      warnings.push({ path: [...path, "recycleAboveMb"], message });
    }
  }
  return { problems, warnings };
}

function hostRules({ host }: Instances): Findings {
  if (isLoopbackName(host)) return { problems: [], warnings: [] };
  const message =
    "ComfyUI asks nobody for a key: everybody who reaches this address can run what they like here";
  return { problems: [], warnings: [{ path: ["instances", "host"], message }] };
}

function noneAtAll({ gpus, cpu }: Instances): readonly Finding[] {
  if (gpus !== "none" || cpu !== 0) return [];
  const message = "with `gpus: none` and `cpu: 0` no instance is started";
  return [{ path: ["instances", "cpu"], message }];
}
