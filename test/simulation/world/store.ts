import { createHash } from "node:crypto";
import type {
  BlobStore,
  PutBlob,
  StoreUnavailable,
} from "../../../packages/control-plane/src/files/model.ts";
import type { SimProcess } from "./process.ts";
import type { Random } from "@holdfast/runtime";

/** The file store of a simulation: in memory, shared by all replicas. */
export interface SimStore {
  isDown: boolean;
  /** Says `stored` and keeps nothing: no store does that, a twin does. */
  isForgetful: boolean;
  blobs: ReadonlyMap<string, Buffer>;
  connect(process: SimProcess, random: Random): BlobStore;
}

const CALL_MS = 4;

/** An empty store. */
export function createStore(): SimStore {
  const blobs = new Map<string, Buffer>();
  const store: SimStore = {
    isDown: false,
    isForgetful: false,
    blobs,
    connect(process, random) {
      const down: StoreUnavailable = { kind: "unavailable", reason: "simulated outage" };
      /** Down before or after it was done: an outage may begin in the middle of a call. */
      const call = async <T>(run: () => T): Promise<T | StoreUnavailable> => {
        await process.clock.sleep(CALL_MS * random.next());
        if (store.isDown) return down;
        const result = run();
        await process.clock.sleep(CALL_MS * random.next());
        return store.isDown ? down : result;
      };
      const put = async ({ sha256, sizeBytes, body }: PutBlob) => {
        const pieces: Uint8Array[] = [];
        for await (const piece of body) pieces.push(piece);
        const bytes = Buffer.concat(pieces);
        const found = createHash("sha256").update(bytes).digest("hex");
        if (found !== sha256 || bytes.length !== sizeBytes) {
          return { kind: "mismatch", sha256: found, sizeBytes: bytes.length } as const;
        }
        return call(() => {
          if (!store.isForgetful) blobs.set(sha256, bytes);
          return { kind: "stored" } as const;
        });
      };
      const has = (sha256: string) =>
        call(() => {
          const bytes = blobs.get(sha256);
          return bytes === undefined
            ? ({ kind: "missing" } as const)
            : ({ kind: "found", sizeBytes: bytes.length } as const);
        });
      return {
        description: "simulated store",
        put,
        has: (sha256) =>
          store.isForgetful
            ? Promise.resolve({ kind: "found", sizeBytes: Number.NaN })
            : has(sha256),
        open: (sha256) =>
          call(() => {
            const bytes = blobs.get(sha256);
            if (bytes === undefined) return { kind: "missing" } as const;
            const body = (async function* () {
              yield bytes;
            })();
            return { kind: "found", sizeBytes: bytes.length, body } as const;
          }),
        remove: (sha256) =>
          call(() => {
            blobs.delete(sha256);
            return { kind: "removed" } as const;
          }),
        probe: () => call(() => ({ kind: "ready" }) as const),
        close: () => Promise.resolve(),
      };
    },
  };
  return store;
}
