import { randomUUID } from "node:crypto";
import type { BatchView, BookPageView } from "@holdfast/contract";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { failureOf, fieldOf, type ApiClient } from "./api-client.ts";
import { toList } from "./job-calls.ts";
import { listAll, type Listed } from "./list-all.ts";
import { requestUnderKey, type SleepingClock } from "./repeatable.ts";

/*
 * As in `job-calls.ts`: answers are checked for the fields without which nothing can be shown, not
 * against the whole schema.
 */

const BATCHES = "/api/v1/batches";

/** The path of one batch, by id or number. */
export const batchPath = (ref: string): string => `${BATCHES}/${encodeURIComponent(ref)}`;

/** A batch out of an answer; throws {@link CommandFailure} when it is none. */
export function toBatch(value: unknown): BatchView {
  const isWhole =
    typeof fieldOf(value, "id") === "string" &&
    typeof fieldOf(value, "status") === "string" &&
    typeof fieldOf(value, "pageCount") === "number" &&
    typeof fieldOf(value, "pages") === "object" &&
    typeof fieldOf(fieldOf(value, "progress"), "percent") === "number";
  // A server of before said nothing of changes.
  if (isWhole)
    return { ...(value as BatchView), changedPages: Number(fieldOf(value, "changedPages") ?? 0) };
  throw notHoldfast("a batch");
}

function toPage(value: unknown): BookPageView {
  const isWhole =
    typeof fieldOf(value, "page") === "number" &&
    typeof fieldOf(value, "status") === "string" &&
    Array.isArray(fieldOf(value, "image_error"));
  if (isWhole) {
    const page = value as BookPageView;
    return { ...page, changes: (page.changes as BookPageView["changes"] | undefined) ?? null };
  }
  throw notHoldfast("a page of a book");
}

function notHoldfast(what: string): CommandFailure {
  return new CommandFailure(
    EXIT.unavailable,
    `the server's answer is not ${what}: is it a Holdfast server of about this version?`,
  );
}

/** What creating a batch came to. */
export interface CreatedBatch {
  readonly batch: BatchView;
  /** False when the caller's own key had been used before. */
  readonly created: boolean;
  readonly warnings: readonly string[];
}

/**
 * Creates a batch. A connection that is cut in between is tried again under the same idempotency key
 * (a random one when none is given), so there is one batch.
 */
export async function createBatch(
  api: ApiClient,
  body: unknown,
  options: { readonly idempotencyKey: string | undefined; readonly clock: SleepingClock },
): Promise<CreatedBatch> {
  const answer = await requestUnderKey(api, BATCHES, {
    method: "POST",
    json: body,
    key: options.idempotencyKey ?? `cli-${randomUUID()}`,
    clock: options.clock,
  });
  if (answer.kind !== "answered") throw failureOf(answer, api.baseUrl);
  const given: unknown = await answer.response.json().catch(() => undefined);
  const warnings = fieldOf(given, "warnings");
  return {
    batch: toBatch(fieldOf(given, "batch")),
    created: fieldOf(given, "created") !== false || options.idempotencyKey === undefined,
    warnings: Array.isArray(warnings) ? warnings.filter((text) => typeof text === "string") : [],
  };
}

/** One batch, by id or number. */
export async function getBatch(api: ApiClient, ref: string): Promise<BatchView> {
  return toBatch(await api.json(batchPath(ref)));
}

/** Batches, newest first, at most `limit`. */
export async function listBatches(
  api: ApiClient,
  query: URLSearchParams,
  limit: number,
): Promise<Listed<BatchView>> {
  return await listAll(api, BATCHES, query, limit, toBatch);
}

/** Pages of a batch by number, at most `limit`. */
export async function listBatchPages(
  api: ApiClient,
  ref: string,
  query: URLSearchParams,
  limit: number,
): Promise<Listed<BookPageView>> {
  return await listAll(api, `${batchPath(ref)}/pages`, query, limit, toPage);
}

/** `pause`, `resume` or `cancel`: answers the batch as it is then. */
export async function changeBatch(
  api: ApiClient,
  ref: string,
  action: "pause" | "resume" | "cancel",
): Promise<BatchView> {
  return readChanged(await api.json(`${batchPath(ref)}/${action}`, { method: "POST", json: {} }));
}

/** Changes how urgent a batch is. */
export async function setPriority(
  api: ApiClient,
  ref: string,
  priority: number,
): Promise<BatchView> {
  return readChanged(await api.json(batchPath(ref), { method: "PATCH", json: { priority } }));
}

function readChanged(answer: unknown): BatchView {
  return toBatch(fieldOf(answer, "batch") ?? answer);
}

/** What a regenerate came to. */
export interface Regenerated {
  readonly batch: BatchView;
  readonly regenerated: readonly number[];
}

/** Makes pages anew: those that need it, or those that are named, or one with other values. */
export async function regeneratePages(
  api: ApiClient,
  ref: string,
  body: Readonly<Record<string, unknown>>,
  page?: number,
): Promise<Regenerated> {
  const path = `${batchPath(ref)}${page === undefined ? "" : `/pages/${page}`}/regenerate`;
  const answer = await api.json(path, { method: "POST", json: body });
  const pages = toList(answer, "regenerated").filter((one) => typeof one === "number");
  return { batch: toBatch(fieldOf(answer, "batch")), regenerated: pages };
}
