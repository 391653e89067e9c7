/** What a running ComfyUI has, from `GET /object_info`. */

/** Node classes of a ComfyUI, by where they come from. */
export interface NodeClasses {
  readonly all: readonly string[];
  /** Name of a pack → its classes. */
  readonly byPack: ReadonlyMap<string, readonly string[]>;
}

/** What `python_module` of a class of a pack begins with (`nodes.py`, `RELATIVE_PYTHON_MODULE`). */
const PACK_MODULE = "custom_nodes.";

/** Reads the answer; undefined when it is none. */
export function parseObjectInfo(body: string): NodeClasses | undefined {
  let info: unknown;
  try {
    info = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (typeof info !== "object" || info === null || Array.isArray(info)) return undefined;
  const byPack = new Map<string, string[]>();
  const all: string[] = [];
  for (const [name, node] of Object.entries(info)) {
    all.push(name);
    const module = (node as { readonly python_module?: unknown } | null)?.python_module;
    if (typeof module !== "string" || !module.startsWith(PACK_MODULE)) continue;
    const pack = module.slice(PACK_MODULE.length);
    byPack.set(pack, [...(byPack.get(pack) ?? []), name]);
  }
  return { all: all.toSorted(), byPack };
}

/** A promise of the manifest that a ComfyUI does not keep. */
export interface BrokenPromise {
  readonly pack: string;
  readonly classes: readonly string[];
}

/** Classes that were promised and are not there, by pack. */
export function brokenPromises(
  promises: readonly { readonly pack: string; readonly classes: readonly string[] }[],
  classes: NodeClasses,
): BrokenPromise[] {
  const there = new Set(classes.all);
  return promises.flatMap(({ pack, classes }) => {
    const absent = classes.filter((name) => !there.has(name));
    return absent.length === 0 ? [] : [{ pack, classes: absent }];
  });
}
