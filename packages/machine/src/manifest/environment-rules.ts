/** Rules for Python and torch. */
import { joinFindings, type Finding, type Findings } from "@holdfast/yaml-file";
import { manifestSchema, MANIFEST_VERSION, type Manifest } from "./model.ts";

/** What contradicts itself between an adopted ComfyUI, Python, torch and the GPUs. */
export function environmentRules(manifest: Manifest): Findings {
  return joinFindings([adoptRules(manifest), pythonRules(manifest), torchRules(manifest)]);
}

/** Packs may be listed with `adopt`: they are looked for there. Packages are not ours to change. */
function adoptRules(manifest: Manifest): Findings {
  const { comfyui } = manifest;
  if (comfyui === undefined || !("adopt" in comfyui)) return { problems: [], warnings: [] };
  const defaults = manifestSchema.parse({ version: MANIFEST_VERSION });
  const problems = (["python", "torch"] as const)
    .filter((section) => JSON.stringify(manifest[section]) !== JSON.stringify(defaults[section]))
    .map((section): Finding => {
      const message =
        "an adopted ComfyUI keeps the Python environment it has, nothing is installed into it: " +
        `remove \`${section}\`, or let ComfyUI be cloned (\`repo\` and \`ref\`)`;
      return { path: [section], message };
    });
  return { problems, warnings: [] };
}

function pythonRules({ python }: Manifest): Findings {
  const problems: Finding[] = [];
  if (python.noIndex && python.findLinks.length === 0) {
    const message = "without an index packages come from `findLinks` alone, and there are none";
    problems.push({ path: ["python", "noIndex"], message });
  }
  if (python.noIndex && (python.indexUrl !== undefined || python.extraIndexUrls.length > 0)) {
    const message = "`noIndex` and an index exclude each other: remove one";
    problems.push({ path: ["python", "noIndex"], message });
  }
  return { problems, warnings: [] };
}

function torchRules({ torch, instances, comfyui }: Manifest): Findings {
  const problems: Finding[] = [];
  const warnings: Finding[] = [];
  const path = ["torch", "backend"];
  const { backend } = torch;
  const isForGpu = /^(?:cu|rocm)\d/.test(backend);
  if (isForGpu && instances.gpus === "none") {
    const message = `${backend} is a build for GPUs, several GB of it, and \`instances.gpus\` is none: cpu would do`;
    warnings.push({ path, message });
  }
  if (backend === "cpu" && Array.isArray(instances.gpus)) {
    const message =
      "a torch without GPU support cannot run the instances that `instances.gpus` names: " +
      "choose auto or a GPU build, or set `instances.gpus: none`";
    problems.push({ path, message });
  }
  if (backend === "cpu" && instances.gpus === "all") {
    const message = "with this torch no GPU can be used: set `instances.gpus: none` to say so";
    warnings.push({ path, message });
  }
  if (backend === "none" && comfyui !== undefined && torch.indexUrl !== undefined) {
    const message = "with the backend none torch is left to the requirements, and this is not used";
    warnings.push({ path: ["torch", "indexUrl"], message });
  }
  return { problems, warnings };
}
