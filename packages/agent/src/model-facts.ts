import type { ComfyClient } from "@holdfast/comfyui";
import type { ModelMetadata } from "@holdfast/comfyui/protocol";
import type { Inventory, ModelFileFacts } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import type { AgentLimits } from "./limits.ts";
import { slept, WAIT_OVER } from "./pause.ts";
import { cleanText } from "./wire-text.ts";

/** What a reader is made of. */
export interface ModelFactsReaderDeps {
  readonly client: Pick<ComfyClient, "modelMetadata" | "modelSizes">;
  readonly clock: Clock;
  readonly limits: Pick<
    AgentLimits,
    "modelFactsMax" | "modelFactsAtOnce" | "modelFactsMs" | "inventoryEveryMs"
  >;
  /** More is known than before. */
  readonly onRead: () => void;
  readonly signal: AbortSignal;
}

/**
 * Folders whose files may take each other's place, or decide which others may; the most telling first,
 * for not every file may be read.
 */
const FOLDERS: readonly string[] = [
  "checkpoints",
  "diffusion_models",
  "loras",
  "controlnet",
  "vae",
  "text_encoders",
  "clip_vision",
  "style_models",
  "ipadapter",
  "upscale_models",
];

interface ModelFile {
  readonly folder: string;
  readonly name: string;
}

/**
 * Reads what model files say of themselves, each file once in the life of the instance's process: its
 * header does not change without the file, and a file under its old name is rare. Few at once and for
 * a bounded time, because ComfyUI reads a header in its event loop, in the way of everything else.
 */
export class ModelFactsReader {
  readonly #deps: ModelFactsReaderDeps;
  readonly #facts = new Map<string, ModelFileFacts | null>();
  #reading: AbortController | undefined;
  #notBefore = -Infinity;

  constructor(deps: ModelFactsReaderDeps) {
    this.#deps = deps;
  }

  /** What is known of these models, of those alone that say something; undefined when nothing is. */
  factsOf(models: Inventory["models"]): Inventory["modelFacts"] {
    const known = filesOf(models).flatMap((file) => this.#facts.get(keyOf(file)) ?? []);
    return known.length === 0 ? undefined : known;
  }

  /**
   * Begins to read what is not known of these models, unless it reads already or is to rest after
   * trouble. Never fails; what could not be read is read another time.
   */
  read(models: Inventory["models"]): void {
    const { clock, limits, signal } = this.#deps;
    if (this.#reading !== undefined || signal.aborted || clock.elapsed() < this.#notBefore) return;
    const room = limits.modelFactsMax - this.#facts.size;
    const files = filesOf(models).filter((file) => !this.#facts.has(keyOf(file)));
    if (files.length === 0 || room <= 0) return;
    void this.#readAll(files.slice(0, room));
  }

  /** Another process answers: its files may be others. */
  forget(): void {
    this.#reading?.abort(WAIT_OVER);
    this.#reading = undefined;
    this.#facts.clear();
    this.#notBefore = -Infinity;
  }

  async #readAll(files: readonly ModelFile[]): Promise<void> {
    const { clock, limits, signal } = this.#deps;
    const own = new AbortController();
    this.#reading = own;
    const onAbort = (): void => own.abort(WAIT_OVER);
    signal.addEventListener("abort", onAbort, { once: true });
    void slept(clock, limits.modelFactsMs, own.signal).then(onAbort);
    let found = 0;
    let isComplete = false;
    try {
      const sizes = await this.#sizesOf(new Set(files.map(({ folder }) => folder)), own.signal);
      const left = [...files].reverse();
      const readers = Array.from({ length: limits.modelFactsAtOnce }, async () => {
        for (let file = left.pop(); file !== undefined; file = left.pop()) {
          const facts = await this.#factsOf(file, sizes.get(keyOf(file)) ?? null, own.signal);
          // Another process answers by now, or it is slow: the rest is for another time.
          if (facts === undefined || this.#reading !== own) return false;
          this.#facts.set(keyOf(file), facts);
          if (facts !== null) found += 1;
        }
        return true;
      });
      isComplete = (await Promise.all(readers)).every(Boolean);
    } catch (err) {
      if (!own.signal.aborted) throw err;
    } finally {
      own.abort(WAIT_OVER);
      signal.removeEventListener("abort", onAbort);
    }
    if (this.#reading !== own) return;
    this.#reading = undefined;
    if (!isComplete) this.#notBefore = clock.elapsed() + limits.inventoryEveryMs;
    if (found > 0 && !signal.aborted) this.#deps.onRead();
  }

  /** By {@link keyOf}; a version of ComfyUI that lists no sizes leaves them unknown. */
  async #sizesOf(
    folders: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, number>> {
    const all = new Map<string, number>();
    for (const folder of folders) {
      const listed = await this.#deps.client.modelSizes(folder, signal);
      if (listed.kind !== "ok") continue;
      for (const [name, size] of listed.sizes) all.set(keyOf({ folder, name }), size);
    }
    return all;
  }

  /** Null for a file that says nothing or is broken; undefined when no answer came. */
  async #factsOf(
    { folder, name }: ModelFile,
    sizeBytes: number | null,
    signal: AbortSignal,
  ): Promise<ModelFileFacts | null | undefined> {
    const answer = await this.#deps.client.modelMetadata(folder, name, signal);
    if (answer.kind === "unreachable" || answer.kind === "timeout") return undefined;
    // 500 is ComfyUI's own answer to a broken file; the others are a proxy's, and say nothing of it.
    if (answer.kind === "http" && answer.status > 500) return undefined;
    if (answer.kind !== "ok" || answer.metadata === undefined) return null;
    return toFacts({ folder, name }, answer.metadata, sizeBytes);
  }
}

function toFacts(
  file: ModelFile,
  { architecture, baseModel, tensorHash }: ModelMetadata,
  sizeBytes: number | null,
): ModelFileFacts | null {
  if (architecture === null && baseModel === null && tensorHash === null) return null;
  return {
    ...file,
    architecture: architecture === null ? null : cleanText(architecture),
    baseModel: baseModel === null ? null : cleanText(baseModel),
    tensorHash,
    sizeBytes,
  };
}

/** The files that could say something, the most telling first. */
function filesOf(models: Inventory["models"]): readonly ModelFile[] {
  return FOLDERS.flatMap((folder) =>
    (models[folder] ?? [])
      .filter((name) => name.endsWith(".safetensors"))
      .map((name) => ({ folder, name })),
  );
}

function keyOf({ folder, name }: ModelFile): string {
  return `${folder}\n${name}`;
}
