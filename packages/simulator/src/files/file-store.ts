/** ComfyUI's three folders. */
export type Area = "input" | "output" | "temp";

/** A stored file. `mtimeMs` is epoch milliseconds. */
export interface StoredFile {
  readonly bytes: Buffer;
  readonly mtimeMs: number;
}

/** Where the simulator keeps inputs and outputs. Paths are relative, with `/`. */
export interface FileStore {
  write(area: Area, subfolder: string, name: string, bytes: Buffer): void;
  read(area: Area, subfolder: string, name: string): StoredFile | null;
  remove(area: Area, subfolder: string, name: string): boolean;
  /** Names in one folder, unsorted. */
  list(area: Area, subfolder: string): readonly string[];
  /** The number that the next `PREFIX_00001_` file of a folder gets (folder_paths.py, 0.3.64). */
  nextNumber(area: Area, subfolder: string, prefix: string): number;
  /** Forgets a whole area, as a start of ComfyUI does with `temp`. */
  clear(area: Area): void;
}

/**
 * Counts `PREFIX_<digits>_` names for every prefix that a name can be read as, so that the next
 * number is found without walking the folder.
 */
export class NameCounters {
  readonly #highest = new Map<string, number>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Takes note of a new file. */
  add(folder: string, name: string): void {
    for (let at = name.indexOf("_"); at >= 0; at = name.indexOf("_", at + 1)) {
      const key = `${folder}\0${name.slice(0, at).toLowerCase()}`;
      const value = leadingNumber(name.slice(at + 1));
      const known = this.#highest.get(key);
      if (known !== undefined && known >= value) continue;
      if (known !== undefined) this.#highest.delete(key);
      this.#highest.set(key, value);
      if (this.#highest.size > this.#limit) this.#forgetOldest();
    }
  }

  /** The number after the highest one seen, 1 when none was. */
  next(folder: string, prefix: string): number {
    const highest = this.#highest.get(`${folder}\0${prefix.toLowerCase()}`);
    return highest === undefined ? 1 : highest + 1;
  }

  /** Counts a folder anew, after a file was taken out of it. */
  recount(folder: string, names: readonly string[]): void {
    for (const key of this.#highest.keys()) {
      if (key.startsWith(`${folder}\0`)) this.#highest.delete(key);
    }
    for (const name of names) this.add(folder, name);
  }

  #forgetOldest(): void {
    const oldest = this.#highest.keys().next();
    if (oldest.done !== true) this.#highest.delete(oldest.value);
  }
}

/** Python's `int(text.split("_")[0])`, 0 where that would raise. */
function leadingNumber(text: string): number {
  const digits = text.split("_", 1)[0] ?? "";
  return /^\d+$/.test(digits) ? Number(digits) : 0;
}
