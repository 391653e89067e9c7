import {
  stripHostPaths,
  type ExecutionError,
  type NodeErrors,
  type PromptRejection,
  type ValidationIssue,
} from "@holdfast/comfyui/protocol";
import type { ClientTrouble, UnexplainedRejection } from "@holdfast/comfyui";
import type { AttemptOutcome } from "@holdfast/contract";
import { assertNever } from "@holdfast/runtime";
import { cleanDeep, cleanText, cutMiddle, cutText } from "./wire-text.ts";

/**
 * What a failure looked like, as the control plane's classifier reads it: `FailureEvidence` of the
 * recovery package in plain JSON. Bounded here, clean, and without the host's paths (F6).
 */
export type Evidence = Extract<AttemptOutcome, { kind: "failed" }>["evidence"];

const MESSAGE_MAX = 65_536;
const TRACEBACK_LINES_MAX = 200;
const TRACEBACK_LINE_MAX = 2_000;
const FIELD_MAX = 500;
const NODE_ERRORS_MAX = 65_536;

/** Times of a failure, where they are known. */
export interface EvidenceTiming {
  readonly elapsedMs?: number;
  readonly sinceLastSignMs?: number;
}

/** Evidence of one channel; longer texts are cut, paths of the host removed. */
export function toEvidence(
  channel: string,
  message: string,
  facts: Readonly<Record<string, unknown>> = {},
): Evidence {
  const kept = Object.entries(facts).filter(([, value]) => value !== undefined);
  return {
    ...Object.fromEntries(kept.map(([key, value]) => [cleanText(key), limitField(value)])),
    channel,
    message: cutMiddle(stripHostPaths(message), MESSAGE_MAX),
  };
}

/** What a node raised (F10). `current_inputs` is left out: it holds the user's own words. */
export function executionEvidence(error: ExecutionError, timing: EvidenceTiming): Evidence {
  return {
    ...toEvidence("execution", error.exceptionMessage, {
      exceptionType: error.exceptionType,
      nodeId: error.nodeId,
      nodeType: error.nodeType,
      timing,
    }),
    traceback: error.traceback
      .slice(-TRACEBACK_LINES_MAX)
      .map((line) => cutText(stripHostPaths(line), TRACEBACK_LINE_MAX)),
  };
}

/** Somebody else's interrupt: ours end an attempt before its history is read. */
export function interruptedEvidence(nodeId: string | undefined, timing: EvidenceTiming): Evidence {
  return toEvidence("execution", "The prompt was interrupted on the instance, not by Holdfast.", {
    exceptionType: "execution_interrupted",
    nodeId,
    timing,
  });
}

/** Outputs that ComfyUI dropped although it took the prompt (F2), or named in a 400. */
export function nodeErrorsEvidence(
  nodeErrors: readonly NodeErrors[],
  fallback: { readonly type: string; readonly message: string; readonly httpStatus: number },
): Evidence {
  const first = nodeErrors.find((node) => node.errors.length > 0);
  const complaint = first?.errors[0];
  const message =
    complaint === undefined
      ? fallback.message
      : [complaint.message, complaint.details].filter((text) => text !== "").join(": ");
  return toEvidence("validation", message, {
    validationType: complaint?.type ?? fallback.type,
    nodeId: first?.nodeId,
    nodeType: first?.classType,
    httpStatus: fallback.httpStatus,
    nodeErrors: toWireNodeErrors(nodeErrors),
  });
}

/** A refused POST. */
export function rejectionEvidence(rejection: PromptRejection | UnexplainedRejection): Evidence {
  switch (rejection.kind) {
    case "invalid_graph": {
      const evidence = nodeErrorsEvidence(rejection.nodeErrors, {
        type: rejection.type,
        message: [rejection.message, rejection.details].filter((text) => text !== "").join(": "),
        httpStatus: 400,
      });
      return rejection.missingClass === undefined
        ? evidence
        : { ...evidence, nodeType: rejection.missingClass };
    }
    case "no_prompt":
      return toEvidence("validation", rejection.message, {
        validationType: "no_prompt",
        httpStatus: 400,
      });
    case "bad_request_500":
      return toEvidence("validation", rejection.text, { httpStatus: 500 });
    case "too_large":
    case "forbidden":
    case "server_error":
    case "unexpected":
      return toEvidence("connection", rejection.text, { httpStatus: rejection.status });
    default:
      return assertNever(rejection);
  }
}

/** What our own look at `/object_info` found: better words than ComfyUI's (F3). */
export function issuesEvidence(issues: readonly ValidationIssue[]): Evidence {
  const [first] = issues;
  const nodeErrors = Object.fromEntries(
    issues
      .filter((issue) => issue.nodeId !== undefined)
      .map((issue) => [
        issue.nodeId,
        {
          class_type: issue.classType,
          dependent_outputs: issue.dependentOutputs,
          errors: issues
            .filter((other) => other.nodeId === issue.nodeId)
            .map((other) => ({
              type: other.type,
              message: other.message,
              details: "",
              extra_info: {
                input_name: other.input,
                received_value: other.received,
                valid_values: other.validValues,
                model_folder: other.modelFolder,
              },
            })),
        },
      ]),
  );
  return toEvidence("validation", first?.message ?? "The graph is not valid here.", {
    validationType: first?.type,
    nodeId: first?.nodeId,
    nodeType: first?.classType,
    nodeErrors,
  });
}

/** Trouble between the agent and the instance, in one line. */
export function troubleText(trouble: ClientTrouble): string {
  switch (trouble.kind) {
    case "unreachable":
      return trouble.message === trouble.code
        ? trouble.code
        : `${trouble.code}: ${trouble.message}`;
    case "timeout":
      return `no answer within ${trouble.afterMs} ms`;
    case "http":
      return `HTTP ${trouble.status}: ${cutText(trouble.body, FIELD_MAX)}`;
    case "malformed":
      return trouble.message;
    default:
      return assertNever(trouble);
  }
}

function toWireNodeErrors(nodeErrors: readonly NodeErrors[]): unknown {
  return Object.fromEntries(
    nodeErrors.map((node) => [
      node.nodeId,
      {
        class_type: node.classType,
        dependent_outputs: node.dependentOutputs,
        errors: node.errors.map((error) => ({
          type: error.type,
          message: error.message,
          details: error.details,
          extra_info: error.extraInfo,
        })),
      },
    ]),
  );
}

function limitField(value: unknown): unknown {
  if (typeof value === "string") return cutText(stripHostPaths(value), FIELD_MAX);
  if (typeof value !== "object" || value === null) return value;
  const clean = cleanDeep(value);
  const text = JSON.stringify(clean);
  if (text.length > NODE_ERRORS_MAX) return { cut: `${text.length} characters of JSON` };
  // Paths hide anywhere in `extra_info`; stripping keeps quotes and braces in their places.
  return stripPathsDeep(clean);
}

function stripPathsDeep(value: unknown): unknown {
  if (typeof value === "string") return stripHostPaths(value).toWellFormed();
  if (Array.isArray(value)) return value.map(stripPathsDeep);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, stripPathsDeep(item)]),
  );
}
