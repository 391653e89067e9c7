// The API as the page calls it: with the key of this tab, if it has one, and never for ever.

const KEY_NAME = "holdfast-api-key";
const READ_LIMIT_MS = 10_000;

/** The server wants a key, or another one. */
export class KeyRefused extends Error {}
/** There is no such thing, or it is another caller's. */
export class NotFound extends Error {}

/** What a browser without storage remembers until the page is loaded again. */
let unstored = null;

/** The key of this tab, or null. */
export function currentKey() {
  try {
    return sessionStorage.getItem(KEY_NAME);
  } catch {
    return unstored;
  }
}

/** Keeps a key for this tab; null forgets it. */
export function setKey(key) {
  unstored = key;
  try {
    if (key === null) sessionStorage.removeItem(KEY_NAME);
    else sessionStorage.setItem(KEY_NAME, key);
  } catch {
    // Storage is switched off: the key lasts until the page is loaded again.
  }
}

/** Sends a GET. Throws `KeyRefused`, `NotFound`, or an `Error` with what the server said. */
export async function get(path, { accept = "application/json", signal } = {}) {
  const key = currentKey();
  const answer = await fetch(path, {
    headers: { accept, ...(key === null ? {} : { authorization: `Bearer ${key}` }) },
    cache: "no-store",
    signal,
  });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  const message = said?.error?.message ?? `${path} answered ${answer.status}`;
  if (answer.status === 401 || (answer.status === 403 && key !== null)) {
    throw new KeyRefused(message);
  }
  if (answer.status === 404) throw new NotFound(message);
  throw new Error(message);
}

/** Reads JSON. Gives up when the signal is aborted or the server takes too long. */
export async function read(path, signal) {
  const limit = AbortSignal.timeout(READ_LIMIT_MS);
  const both = signal === undefined ? limit : AbortSignal.any([signal, limit]);
  return (await get(path, { signal: both })).json();
}
