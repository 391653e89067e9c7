import { greyCells } from "./cells.ts";
import type { Latent, LatentItem, Leg, Trail } from "./latent.ts";

/**
 * `.latent` files: safetensors with a `latent_tensor`, as `SaveLatent` writes them. What a real
 * tensor holds by itself (how far a sampling went, which noise is in it) stands here in the
 * metadata, so that a latent moved to another process decodes to the same pixels (F19).
 */
const FIELD = "holdfast_simulated_latent";

interface ItemRecord {
  readonly key: string;
  readonly nudges: readonly string[];
  readonly trail: {
    readonly start: string;
    readonly legs: readonly Leg[];
    readonly cuts: readonly number[];
    readonly before: string | null;
    readonly weight: number;
  } | null;
}

/** Bytes of a latent file. `metadata` is kept beside (ComfyUI writes `prompt` and the workflow). */
export function encodeLatentFile(
  latent: Latent,
  metadata: Readonly<Record<string, string>>,
): Buffer {
  const plane = latent.columns * latent.rows;
  const perItem = latent.channels * latent.frames * plane;
  const tensor = new Float32Array(perItem * latent.items.length);
  for (const [index, item] of latent.items.entries()) {
    const cells = item.cells();
    for (let i = 0; i < cells.length; i += 1) {
      tensor[index * perItem + (i % 3) * plane + Math.floor(i / 3)] = (cells[i] ?? 0) / 255;
    }
  }
  const items: ItemRecord[] = latent.items.map((item) => ({
    key: item.key,
    nudges: item.nudges,
    trail: item.trail === null ? null : { ...item.trail, before: toBase64(item.trail.before) },
  }));
  const shape =
    latent.frames === 1
      ? [latent.items.length, latent.channels, latent.rows, latent.columns]
      : [latent.items.length, latent.channels, latent.frames, latent.rows, latent.columns];
  const header = JSON.stringify({
    __metadata__: { ...metadata, [FIELD]: JSON.stringify(items) },
    latent_format_version_0: { dtype: "F32", shape: [0], data_offsets: [0, 0] },
    latent_tensor: { dtype: "F32", shape, data_offsets: [0, tensor.byteLength] },
  });
  const padded = Buffer.from(header.padEnd(Math.ceil(header.length / 8) * 8));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([size, padded, Buffer.from(tensor.buffer)]);
}

/** Reads a latent file; null when the bytes are no whole one. */
export function decodeLatentFile(bytes: Buffer): Latent | null {
  try {
    const headerBytes = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerBytes)) as {
      readonly __metadata__?: Readonly<Record<string, string>>;
      readonly latent_tensor?: {
        readonly shape: readonly number[];
        readonly data_offsets: readonly [number, number];
      };
    };
    const tensor = header.latent_tensor;
    const records = header.__metadata__?.[FIELD];
    if (tensor === undefined) return null;
    const [batch = 0, channels = 0, ...rest] = tensor.shape;
    const [frames, rows, columns] =
      rest.length === 3
        ? [rest[0] ?? 1, rest[1] ?? 0, rest[2] ?? 0]
        : [1, rest[0] ?? 0, rest[1] ?? 0];
    const perItem = channels * frames * rows * columns;
    const data = bytes.subarray(8 + headerBytes);
    if (data.length < tensor.data_offsets[1] || tensor.data_offsets[1] !== perItem * batch * 4) {
      return null;
    }
    const parsed = records === undefined ? [] : (JSON.parse(records) as readonly ItemRecord[]);
    const items = Array.from({ length: batch }, (_, index): LatentItem => {
      const cells = readCells(data, index * perItem, columns * rows);
      const record = parsed[index];
      return {
        key: record?.key ?? `foreign:${Buffer.from(cells).toString("base64").slice(0, 64)}`,
        nudges: record?.nudges ?? [],
        trail: toTrail(record?.trail ?? null),
        cells: () => cells,
      };
    });
    return { kind: "latent", columns, rows, channels, frames, items, batchIndex: null, mask: null };
  } catch {
    // Truncated or foreign bytes: the node that loads them raises in ComfyUI's words.
    return null;
  }
}

function readCells(data: Buffer, firstElement: number, plane: number): Uint8Array {
  const cells = greyCells(plane, 1);
  for (let i = 0; i < cells.length; i += 1) {
    const element = firstElement + (i % 3) * plane + Math.floor(i / 3);
    cells[i] = Math.max(0, Math.min(255, Math.round(data.readFloatLE(element * 4) * 255)));
  }
  return cells;
}

function toTrail(record: ItemRecord["trail"]): Trail | null {
  if (record === null) return null;
  const before =
    record.before === null ? null : new Uint8Array(Buffer.from(record.before, "base64"));
  return { ...record, before };
}

function toBase64(cells: Uint8Array | null): string | null {
  return cells === null ? null : Buffer.from(cells).toString("base64");
}
