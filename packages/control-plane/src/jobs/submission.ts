/** Planning a submit: from one request to all that is stored of it, without asking anybody. Pure. */
import {
  extractVariables,
  graphNeeds,
  parseGraph,
  promisedOutputs,
  type Graph,
  type GraphLimits,
  type GraphPatch,
  type GraphRefusalCode,
  type InputFileNeed,
} from "@holdfast/comfyui/protocol";
import type { ErrorCode, JobPolicy, SubmitJob } from "@holdfast/contract";
import type { Needs } from "../machines/model.ts";
import { costKey, costValues } from "../profiles/cost-key.ts";
import { isNeverOutput } from "./core-classes.ts";
import { findJsonProblem, isStorableText } from "./json-bounds.ts";
import {
  DEFAULT_JOB_TIMEOUT_MS,
  MAX_METADATA_BYTES,
  MAX_METADATA_DEPTH,
  MAX_OVERRIDES,
  type JobWebhook,
  type Promised,
} from "./model.ts";
import { applyOverrides } from "./overrides.ts";

/** One job as it will be stored, before its input files are known. */
export interface PlannedJob {
  /** The graph to run, overrides included. */
  readonly graph: Graph;
  readonly graphHash: string;
  /** Under which its cost is known: see `profiles`. */
  readonly costKey: string;
  /** The template's JSON text, as it is stored and hashed. */
  readonly templateJson: string;
  readonly nodeCount: number;
  readonly patch: GraphPatch;
  readonly needs: Needs;
  readonly requirementHash: string;
  /** Files of the caller that the graph reads; files on the machine itself are not among them. */
  readonly inputFiles: readonly InputFileNeed[];
  /** Empty when only a machine can tell which node is an output. */
  readonly promised: readonly Promised[];
  readonly priority: number;
  readonly name: string | null;
  readonly tags: readonly string[];
  readonly batchId: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly timeoutMs: number;
  readonly policy: JobPolicy;
  readonly webhook: JobWebhook | null;
}

/** Why a job is not taken. */
export interface Refusal {
  readonly kind: "refused";
  readonly code: ErrorCode;
  readonly message: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** What planning came to. */
export type Planning = { readonly kind: "planned"; readonly job: PlannedJob } | Refusal;

/** What planning needs beside the request. */
export interface PlanningFacts {
  /** Node classes that the caller's graphs may use; null allows all. */
  readonly allowedClasses: readonly string[] | null;
  readonly limits?: GraphLimits;
  /** Text to a lower-case hex digest. */
  readonly sha256: (text: string) => string;
}

/** Node classes that a refusal names. */
const CLASSES_NAMED = 10;

/** Plans one job. Everything that is wrong on every machine is refused here. */
export function planSubmission(request: SubmitJob, facts: PlanningFacts): Planning {
  const problem = findFieldProblem(request);
  if (problem !== undefined) return problem;
  const read = readGraph(request, facts.limits);
  if (read.kind === "refused") return read;
  const { graph } = read;
  const needs = graphNeeds(graph);
  const forbidden = findForbiddenClasses(needs.nodeClasses, facts.allowedClasses);
  if (forbidden !== undefined) return forbidden;
  const badName = findUnsafeName(graph, needs.inputFiles);
  if (badName !== undefined) return badName;
  const promised = promisedOutputs(graph);
  if (promised.length === 0 && needs.nodeClasses.every(isNeverOutput)) return noOutputs();
  const { template, patch } = extractVariables(graph);
  const templateJson = JSON.stringify(template);
  // By the exact text, titles and order of nodes included: a shared template must give each of its jobs
  // the graph that its own caller sent.
  const graphHash = facts.sha256(templateJson);
  const placed: Needs = { nodeClasses: needs.nodeClasses, models: needs.models };
  return {
    kind: "planned",
    job: {
      graph,
      graphHash,
      costKey: costKey(graphHash, costValues(patch), facts.sha256),
      templateJson,
      nodeCount: Object.keys(graph).length,
      patch,
      needs: placed,
      requirementHash: facts.sha256(JSON.stringify(placed)),
      inputFiles: needs.inputFiles.filter((file) => file.folder === "input"),
      promised,
      priority: request.priority ?? 0,
      name: request.name ?? null,
      tags: [...new Set(request.tags)],
      batchId: request.batchId ?? null,
      metadata: request.metadata ?? {},
      timeoutMs: request.timeoutMs ?? DEFAULT_JOB_TIMEOUT_MS,
      policy: request.policy ?? {},
      webhook: request.webhook ?? null,
    },
  };
}

/** The refusal of a graph that saves and shows nothing. */
export function noOutputs(): Refusal {
  return refuse(
    "graph_no_outputs",
    "no node of the graph saves or shows anything; add an output node such as SaveImage",
  );
}

/** Makes a {@link Refusal}. */
export function refuse(
  code: ErrorCode,
  message: string,
  details?: Readonly<Record<string, unknown>>,
): Refusal {
  return { kind: "refused", code, message, ...(details !== undefined && { details }) };
}

function bad(field: string, what: string): Refusal {
  return refuse("invalid_request", `${field} ${what}`, { field });
}

/** What is wrong with the texts, values and metadata that go with a graph. */
export function findFieldProblem(
  request: Pick<SubmitJob, "name" | "batchId" | "tags" | "set" | "metadata">,
): Refusal | undefined {
  const texts: readonly (readonly [string, string | undefined])[] = [
    ["name", request.name],
    ["batchId", request.batchId],
    ...(request.tags ?? []).map((tag) => ["tags", tag] as const),
  ];
  for (const [field, text] of texts) {
    if (text !== undefined && !isStorableText(text)) {
      return bad(field, "holds a NUL character or half a surrogate pair");
    }
  }
  if (Object.keys(request.set ?? {}).length > MAX_OVERRIDES) {
    return bad("set", `has more than ${MAX_OVERRIDES} values`);
  }
  if (request.metadata === undefined) return undefined;
  const problem = findJsonProblem(request.metadata, MAX_METADATA_DEPTH);
  if (problem === "too_deep") {
    return bad("metadata", `is nested deeper than ${MAX_METADATA_DEPTH} levels`);
  }
  if (problem === "bad_text") {
    return bad("metadata", "holds a NUL character or half a surrogate pair");
  }
  const sizeBytes = Buffer.byteLength(JSON.stringify(request.metadata));
  return sizeBytes > MAX_METADATA_BYTES
    ? bad("metadata", `has ${sizeBytes} bytes as JSON; at most ${MAX_METADATA_BYTES} are kept`)
    : undefined;
}

/** `graph_no_nodes` is the protocol's word for an object without a single node in it. */
function toErrorCode(code: GraphRefusalCode): ErrorCode {
  return code === "graph_no_nodes" ? "graph_bad_node" : code;
}

function readGraph(
  request: SubmitJob,
  limits: GraphLimits | undefined,
): { readonly kind: "graph"; readonly graph: Graph } | Refusal {
  const parsed = parseGraph(request.graph, limits);
  if (parsed.kind === "refused") {
    return refuse(toErrorCode(parsed.code), parsed.message, parsed.details);
  }
  if (request.set === undefined) return parsed;
  const applied = applyOverrides(parsed.graph, request.set);
  if (applied.kind === "unmatched") {
    return refuse("override_unmatched", `set: ${applied.reason}`, { override: applied.name });
  }
  // Overrides may bring links, and values of any depth and size.
  const again = parseGraph(applied.graph, limits);
  return again.kind === "refused"
    ? refuse(toErrorCode(again.code), `after set: ${again.message}`, again.details)
    : again;
}

function findForbiddenClasses(
  classes: readonly string[],
  allowed: readonly string[] | null,
): Refusal | undefined {
  if (allowed === null) return undefined;
  const known = new Set(allowed);
  const forbidden = classes.filter((name) => !known.has(name));
  if (forbidden.length === 0) return undefined;
  const named = forbidden.slice(0, CLASSES_NAMED);
  return refuse(
    "node_class_forbidden",
    `this key may not use node class ${named.join(", ")}${forbidden.length > named.length ? ", …" : ""}`,
    { classes: named },
  );
}

/** Whether a name with folders would leave the folder it is looked up in. */
export function leavesFolder(name: string): boolean {
  return name.split(/[/\\]/).includes("..");
}

function isAbsolute(name: string): boolean {
  return /^[/\\]|^[A-Za-z]:/.test(name);
}

/** Nothing that climbs out of a folder reaches a machine: neither input files nor prefixes. */
function findUnsafeName(graph: Graph, files: readonly InputFileNeed[]): Refusal | undefined {
  for (const { nodeId, input, name } of files) {
    if (leavesFolder(name) || isAbsolute(name)) return unsafe(nodeId, input, name);
  }
  for (const [nodeId, node] of Object.entries(graph)) {
    const prefix = Object.hasOwn(node.inputs, "filename_prefix")
      ? node.inputs["filename_prefix"]
      : undefined;
    if (typeof prefix === "string" && leavesFolder(prefix)) {
      return unsafe(nodeId, "filename_prefix", prefix);
    }
  }
  return undefined;
}

function unsafe(nodeId: string, input: string, name: string): Refusal {
  return refuse(
    "invalid_file_name",
    `input "${input}" of node ${nodeId} names ${JSON.stringify(name.slice(0, 200))}, which leaves its folder; use a name below it`,
    { nodeId, input },
  );
}
