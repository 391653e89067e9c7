/**
 * What ComfyUI's start tells of its custom nodes. It ends with exit code 0 even when some could not
 * be imported (COMFYUI-FACTS F24), so its lines are read. Wording: `nodes.py` of ComfyUI 0.3.64,
 * `load_custom_node`, `init_external_custom_nodes` and `init_extra_nodes`.
 */

/** A module of custom nodes that was not imported. */
export interface ImportFailure {
  /** Its folder or file below `custom_nodes`, without `.py`. */
  readonly name: string;
  /** As ComfyUI tells it; null when it gives none. */
  readonly reason: string | null;
}

/** What a start came to, as far as its lines tell. */
export interface StartupReport {
  readonly failures: readonly ImportFailure[];
  /** ComfyUI's own files of nodes (`nodes_audio.py`) that were not imported. */
  readonly builtinFailures: readonly string[];
}

const SUMMARY = /\d+\.\d+ seconds \(IMPORT FAILED\): (.+)$/;
const BUILTIN = /^(?:.*\s)?IMPORT FAILED: (\S+)$/;
const REASONS: readonly RegExp[] = [
  /Cannot import (.+?) module for custom nodes: (.*)$/,
  /Skip (.+?) module for custom nodes (due to the lack of .*)$/,
  /Error while calling comfy_entrypoint in (.+?): (.*)$/,
  /comfy_entrypoint in (.+?) (is not callable|did not return .*?), skipping\.$/,
];

/** Reads the lines of a start. */
export function parseStartupLog(text: string): StartupReport {
  const reasons = new Map<string, string>();
  const failed = new Set<string>();
  const builtinFailures = new Set<string>();
  for (const raw of text.split("\n")) {
    const line = raw.trimEnd();
    const summary = SUMMARY.exec(line)?.[1];
    if (summary !== undefined) failed.add(moduleName(summary));
    for (const pattern of REASONS) {
      const [, path, reason] = pattern.exec(line) ?? [];
      if (path === undefined || reason === undefined) continue;
      reasons.set(moduleName(path), reason);
      // A start that was cut short has no summary.
      failed.add(moduleName(path));
      break;
    }
    const builtin = BUILTIN.exec(line)?.[1];
    if (builtin !== undefined && summary === undefined) builtinFailures.add(builtin);
  }
  return {
    failures: [...failed].map((name) => ({ name, reason: reasons.get(name) ?? null })),
    builtinFailures: [...builtinFailures],
  };
}

const NO_MODULE = /^ModuleNotFoundError: No module named '([^']+)'/;

/**
 * The module that a start died of: the error that Python told last. ComfyUI's requirements do not name
 * everything that it imports (F24). Undefined when it died of something else.
 */
export function fatalMissingModule(text: string): string | undefined {
  const errors = text
    .split("\n")
    .filter((line) => /^[A-Za-z_][\w.]*(?:Error|Exception)\b/.test(line));
  return NO_MODULE.exec(errors.at(-1) ?? "")?.[1]?.split(".")[0];
}

/** Name of the module of a path, as `get_module_name` of `nodes.py` makes it. */
function moduleName(path: string): string {
  const base = path.trim().replace(/\/+$/, "").split("/").at(-1) ?? path;
  return base.replace(/\.py$/, "");
}
