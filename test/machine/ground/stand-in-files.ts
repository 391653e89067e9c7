/** Files for the stand-in: models that weigh nothing, packs in a folder. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { RepositoryFiles } from "./git-server.ts";

/** A model file: a safetensors header, and some bytes that make it another model. */
export function tinyModel(key = "tiny"): Buffer {
  const header = Buffer.from(JSON.stringify({ __metadata__: { format: "pt", key } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header]);
}

/** Writes a pack's files into a folder, which is made. */
export function writePack(folder: string, files: RepositoryFiles): void {
  for (const [file, content] of Object.entries(files)) {
    if (content === null) continue;
    const target = join(folder, file);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, content);
  }
}
