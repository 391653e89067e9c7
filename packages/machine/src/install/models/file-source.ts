/** Files that are fetched from a path of this machine, a mounted share for instance, as if served. */
import { open, type FileHandle } from "node:fs/promises";
import { constants } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Asked, Opened } from "./download-source.ts";
import { downloadFailure } from "./download-failure.ts";

const READ_BYTES = 256 * 1024;

/** Opens a `file://` URL and answers as a server that knows ranges would. */
export async function openFileUrl(url: URL, asked: Asked): Promise<Opened> {
  let handle: FileHandle | undefined;
  try {
    const path = fileURLToPath(url);
    // Without waiting: a pipe without a writer would never open.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const facts = await handle.stat({ bigint: true });
    if (!facts.isFile()) {
      await handle.close();
      const advice = "Name a file in the model's url in machine.yaml.";
      return { kind: "failed", failure: downloadFailure("bad_url", `${path} is no file`, advice) };
    }
    const size = Number(facts.size);
    const etag = `"${facts.ino}-${facts.size}-${facts.mtimeNs}"`;
    const plan = asked.plan;
    const isRest = plan.kind === "rest" && (plan.ifRange === null || plan.ifRange === etag);
    const from = isRest ? plan.from : 0;
    if (isRest && from >= size) {
      await handle.close();
      return answered(416, { "content-range": `bytes */${size}` }, emptyBody(), url);
    }
    return answered(
      isRest ? 206 : 200,
      {
        etag,
        "content-length": String(size - from),
        ...(isRest ? { "content-range": `bytes ${from}-${size - 1}/${size}` } : {}),
      },
      readFrom(handle, from, size),
      url,
    );
  } catch (error) {
    await handle?.close();
    return { kind: "failed", failure: openFailure(error, url) };
  }
}

function openFailure(error: unknown, url: URL): ReturnType<typeof downloadFailure> {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR") {
    const advice = "Correct the model's url in machine.yaml, or mount what it is on.";
    return downloadFailure("not_found", `there is no file ${url.href}`, advice);
  }
  if (code === "EACCES" || code === "EPERM") {
    const advice = "Let the user that Holdfast runs as read it.";
    return downloadFailure("gated", `${url.href} may not be read (${code})`, advice);
  }
  return downloadFailure(
    "bad_url",
    `${url.href} cannot be opened: ${message}`,
    "Correct the model's url in machine.yaml.",
  );
}

function answered(
  status: number,
  headers: Readonly<Record<string, string>>,
  body: AsyncIterable<Uint8Array> & { cancel(): Promise<void> },
  url: URL,
): Opened {
  const asked = { url: url.href, host: "this machine", tokenFile: null };
  return { kind: "answered", status, headers, body, cancel: () => body.cancel(), asked };
}

function emptyBody(): AsyncIterable<Uint8Array> & { cancel(): Promise<void> } {
  return {
    async *[Symbol.asyncIterator]() {},
    cancel: async () => undefined,
  };
}

function readFrom(
  handle: FileHandle,
  from: number,
  end: number,
): AsyncIterable<Uint8Array> & { cancel(): Promise<void> } {
  let isClosed = false;
  const cancel = async (): Promise<void> => {
    if (isClosed) return;
    isClosed = true;
    await handle.close();
  };
  return {
    cancel,
    async *[Symbol.asyncIterator]() {
      try {
        for (let at = from; at < end;) {
          // A buffer of its own each time: whoever takes it may keep it for a while.
          const buffer = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, end - at));
          const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
          if (bytesRead === 0) return;
          at += bytesRead;
          yield buffer.subarray(0, bytesRead);
        }
      } finally {
        await cancel();
      }
    },
  };
}
