import type { ProcessState } from "../engine/process-state.ts";
import type { QueueItem } from "../engine/prompt-queue.ts";
import {
  pythonIn,
  PythonError,
  pythonItem,
  pythonStr,
  toPythonFloat,
  typeName,
} from "../engine/python-text.ts";
import { validateGraph, type PostedGraph } from "../engine/validation.ts";
import { empty, json, serverError, type Reply } from "./reply.ts";
import { parseJson, parseObject, type SimRequest } from "./request.ts";

/** `POST /prompt` (server.py:674, 0.3.64). `queueLimit` is the simulator's own guard. */
export function postPrompt(
  state: ProcessState,
  request: SimRequest,
  queueLimit: number,
  mintId: () => string,
): Reply {
  try {
    return submit(state, request, queueLimit, mintId);
  } catch (error) {
    // What Python would have raised outside of any `try`: not JSON, or no graph at all (F4, F27).
    if (error instanceof PythonError || error instanceof SyntaxError) return serverError();
    throw error;
  }
}

function submit(
  state: ProcessState,
  request: SimRequest,
  queueLimit: number,
  mintId: () => string,
): Reply {
  const body = parseJson(request);
  const number = takeNumber(state, body);
  if (!pythonIn("prompt", body)) {
    const error = {
      type: "no_prompt",
      message: "No prompt provided",
      details: "No prompt provided",
      extra_info: {},
    };
    return json({ error, node_errors: {} }, 400);
  }
  const graph = pythonItem(body, "prompt") as PostedGraph;
  const given = (key: string): unknown => (pythonIn(key, body) ? pythonItem(body, key) : undefined);
  const promptId = pythonIn("prompt_id", body) ? pythonStr(given("prompt_id")) : mintId();
  const valid = validateGraph(graph, state.surroundings, given("partial_execution_targets"));
  if (valid.kind === "refused") {
    return json({ error: valid.error, node_errors: valid.nodeErrors }, 400);
  }
  const extraData = readExtraData(body);
  if (state.queue.remaining >= queueLimit)
    return { ...empty(503), body: "simulated queue is full" };
  const item: QueueItem = [number, promptId, graph, extraData, valid.outputs];
  const isKnown = state.holds(promptId);
  state.queue.put(item);
  const clientId = given("client_id");
  state.parts.onQueued(promptId, typeof clientId === "string" ? clientId : null, isKnown);
  state.tellQueue();
  state.wake();
  return json({ prompt_id: promptId, number, node_errors: valid.nodeErrors });
}

/** Anything is taken for `extra_data`; what holds nothing ends the thread that runs prompts. */
function readExtraData(body: unknown): unknown {
  const extra = pythonIn("extra_data", body) ? pythonItem(body, "extra_data") : {};
  if (!pythonIn("client_id", body)) return extra;
  if (typeof extra !== "object" || extra === null || Array.isArray(extra)) {
    throw new PythonError("TypeError", `'${typeName(extra)}' object takes no item`);
  }
  return { ...extra, client_id: pythonItem(body, "client_id") };
}

function takeNumber(state: ProcessState, body: unknown): number {
  if (pythonIn("number", body)) return toPythonFloat(pythonItem(body, "number"));
  const number = state.nextNumber;
  state.nextNumber += 1;
  if (!pythonIn("front", body)) return number;
  const front = pythonItem(body, "front");
  return front === true || front === 1 ? -number : number;
}

/** `GET /queue`: everything as it was posted, secrets included (F28). */
export function getQueue(state: ProcessState): Reply {
  return json({ queue_running: state.queue.running, queue_pending: state.queue.pending });
}

/** `POST /queue`: `clear` and `delete` touch pending prompts only. */
export function postQueue(state: ProcessState, request: SimRequest): Reply {
  const body = parseObject(request);
  if (isTrue(body["clear"])) {
    state.queue.clear();
    state.tellQueue();
  }
  for (const id of listOf(body["delete"])) if (state.queue.remove(id)) state.tellQueue();
  return empty();
}

/** `GET /history`, a page. */
export function getHistory(state: ProcessState, request: SimRequest): Reply {
  const maxItems = request.query.get("max_items");
  const offset = request.query.get("offset");
  if (!isWholeNumber(maxItems) || !isWholeNumber(offset)) return serverError();
  const limit = maxItems === null ? null : Number(maxItems);
  // A page of none: the real one compares after it added, and would give one too many otherwise.
  if (limit !== null && limit <= 0) return json({});
  return json(state.history.page(limit, offset === null ? -1 : Number(offset)));
}

/** `GET /history/{id}`: `{}` until the prompt ended. */
export function getHistoryOf(state: ProcessState, promptId: string): Reply {
  const entry = state.history.get(promptId);
  return json(entry === undefined ? {} : { [promptId]: entry });
}

/** `POST /history`: forgets entries. */
export function postHistory(state: ProcessState, request: SimRequest): Reply {
  const body = parseObject(request);
  if (isTrue(body["clear"])) state.history.clear();
  for (const id of listOf(body["delete"])) state.history.remove(id);
  return empty();
}

/** `POST /interrupt`: 200 whatever happens; with a `prompt_id` only if that one runs (F13). */
export function postInterrupt(state: ProcessState, request: SimRequest): Reply {
  const promptId = readPromptId(request);
  const isMeant = promptId === null || state.queue.running.some((item) => item[1] === promptId);
  if (isMeant) state.interrupt();
  return empty();
}

function readPromptId(request: SimRequest): string | null {
  try {
    const promptId = parseObject(request)["prompt_id"];
    return typeof promptId === "string" && promptId !== "" ? promptId : null;
  } catch {
    // No body, or no JSON: that is a global interrupt.
    return null;
  }
}

/** `POST /free`: noted now, done when nothing runs (F14). */
export function postFree(state: ProcessState, request: SimRequest): Reply {
  const body = parseObject(request);
  state.wantFree(isTrue(body["unload_models"]), isTrue(body["free_memory"]));
  return empty();
}

function isTrue(value: unknown): boolean {
  return value !== undefined && value !== null && value !== false && value !== 0 && value !== "";
}

function listOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((id) => typeof id === "string") : [];
}

function isWholeNumber(value: string | null): boolean {
  return value === null || /^-?\d+$/.test(value);
}
