/**
 * How a machine gets a key of its own for a one-time token. Whoever is killed anywhere on the way may
 * do it again: the nonce is on disk before the token is used, and the key before it is.
 */
import {
  enrollResponseSchema,
  enrolmentTokenSchema,
  HoldfastError,
  isHoldfastError,
  type EnrollRequest,
  type EnrollResponse,
} from "@holdfast/contract";
import type { Clock, Random } from "@holdfast/runtime";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { request, type Dispatcher } from "undici";
import { toError } from "./http-link.ts";
import { untilAnswered } from "./link-retry.ts";
import { cutText } from "./wire-text.ts";

/** Settings of {@link enrollMachine}. */
export interface EnrollOptions {
  /** `http://control-plane:8328`. */
  readonly baseUrl: string;
  /** `hfe_…` */
  readonly token: string;
  readonly machineName: string;
  /** The agent's own folder; the key is kept there. */
  readonly stateDir: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** Told of every try that failed and is repeated. */
  readonly onTrouble?: (error: unknown, attempt: number) => void;
  /** Takes the place of the network. */
  readonly dispatcher?: Dispatcher;
}

/** A machine's key. */
export interface MachineKey {
  readonly keyId: string;
  /** Sent as a bearer token; never in a log. */
  readonly key: string;
}

/** Where a machine's key is, below the agent's folder. */
const KEY_FILE = "machine-key.json";
const NONCE_FILE = "enrolment.json";
const NONCE_BYTES = 32;
const NONCE_LENGTH_MIN = 16;
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
const CALL_MS = 30_000;
const BACKOFF = { linkBackoffMs: 500, linkBackoffMaxMs: 15_000 };
const NAME_MAX = 128;

/** The key that a machine has; undefined when it has none. A file that is no key is an error in words. */
export async function readMachineKey(stateDir: string): Promise<MachineKey | undefined> {
  const path = join(stateDir, KEY_FILE);
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const parsed = enrollResponseSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new Error(
    `${path}: expected a machine's key as enrolment writes it, found something else; remove the file and enrol the machine anew`,
  );
}

/**
 * The key of this machine: the one it got for this token, or a new one for it. A token that was used up
 * meanwhile leaves the key that the machine has. Tries until the control plane answers
 * or the signal ends it; rejects with `HoldfastError` when the token is refused (`unauthorized`,
 * `enrolment_used`, `enrolment_expired`, `forbidden`). The key is on disk, for its owner alone, before
 * this resolves.
 */
export async function enrollMachine(
  options: EnrollOptions,
): Promise<MachineKey & { readonly isNew: boolean }> {
  const { stateDir, clock, random, signal } = options;
  const known = await readMachineKey(stateDir);
  // Another token is another enrolment: the key may have been revoked, or the control plane another one.
  const tokenHash = createHash("sha256").update(options.token).digest("hex");
  if (known !== undefined && (await tokenOf(stateDir)) === tokenHash) {
    return { ...known, isNew: false };
  }
  if (!enrolmentTokenSchema.safeParse(options.token).success) {
    throw new HoldfastError(
      "invalid_request",
      "expected a one-time token (hfe_…) as `holdfast keys enroll` prints it, found something else",
    );
  }
  await mkdir(stateDir, { recursive: true, mode: FOLDER_MODE });
  const asked: EnrollRequest = {
    token: options.token,
    machineName: cutText(options.machineName, NAME_MAX),
    nonce: await nonceOf(stateDir),
  };
  let answer: EnrollResponse;
  try {
    answer = await untilAnswered(
      { clock, random, limits: BACKOFF },
      signal,
      () => ask(options, asked),
      (error, attempt) => options.onTrouble?.(error, attempt),
    );
  } catch (error) {
    const isOver =
      isHoldfastError(error, "enrolment_used") || isHoldfastError(error, "enrolment_expired");
    if (known !== undefined && isOver) return { ...known, isNew: false };
    throw error;
  }
  await writeWhole(stateDir, KEY_FILE, { ...answer, tokenHash });
  return { ...answer, isNew: true };
}

/** Hash of the token that the machine's key was got for. */
async function tokenOf(stateDir: string): Promise<unknown> {
  const kept = parseJson(await readFile(join(stateDir, KEY_FILE), "utf8").catch(() => ""));
  return typeof kept === "object" && kept !== null && "tokenHash" in kept ? kept.tokenHash : null;
}

async function ask(options: EnrollOptions, asked: EnrollRequest): Promise<EnrollResponse> {
  const response = await request(`${options.baseUrl.replace(/\/+$/, "")}/agent/v1/enroll`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(asked),
    signal: options.signal,
    headersTimeout: CALL_MS,
    bodyTimeout: CALL_MS,
    ...(options.dispatcher !== undefined && { dispatcher: options.dispatcher }),
  });
  if (response.statusCode >= 300) throw await toError(response);
  return enrollResponseSchema.parse(await response.body.json());
}

/**
 * The machine's nonce: that of an earlier enrolment, or a new one that is on disk first. It is kept, for
 * by it the machine is known again when it enrols once more.
 */
async function nonceOf(stateDir: string): Promise<string> {
  const kept = parseJson(await readFile(join(stateDir, NONCE_FILE), "utf8").catch(() => ""));
  if (typeof kept === "object" && kept !== null && "nonce" in kept) {
    const { nonce } = kept;
    if (typeof nonce === "string" && nonce.length >= NONCE_LENGTH_MIN) return nonce;
  }
  // From the operating system: whoever knew it and the token would know the key.
  const nonce = randomBytes(NONCE_BYTES).toString("base64url");
  await writeWhole(stateDir, NONCE_FILE, { nonce });
  return nonce;
}

/** Whole or not at all, readable by its owner alone, and on the disk when this resolves. */
async function writeWhole(folder: string, name: string, value: object): Promise<void> {
  const path = join(folder, name);
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const file = await open(temporary, "wx", FILE_MODE);
    try {
      await file.writeFile(`${JSON.stringify(value, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  const parent = await open(folder, "r");
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Half a file of another life: as good as none.
  }
}
