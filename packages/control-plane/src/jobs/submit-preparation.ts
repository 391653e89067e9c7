import type { GraphLimits, InputFileNeed } from "@holdfast/comfyui/protocol";
import { EVENT_TYPES, HoldfastError, type SubmitJob } from "@holdfast/contract";
import { invariant, type IdSource } from "@holdfast/runtime";
import { createHash } from "node:crypto";
import type { Caller } from "../access/model.ts";
import type { Db } from "../platform/db.ts";
import type { JobInput } from "./model.ts";
import type { JobsPorts } from "./ports.ts";
import type { PreparedJob } from "./submit-commit.ts";
import { noOutputs, planSubmission, type PlannedJob, type Refusal } from "./submission.ts";

/** What preparing a submit asks. */
export interface PreparationDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly ports: JobsPorts;
}

/** Strict validation's issues that a refusal carries. */
const MAX_ISSUES_TOLD = 50;

/** The digest that graphs, requirements and requests are known by. */
export const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Plans every request; throws what is wrong with the first that is refused. */
export function planAll(
  caller: Caller,
  requests: readonly SubmitJob[],
  limits?: GraphLimits,
): PlannedJob[] {
  return requests.map((request, index) => {
    const planned = planSubmission(request, {
      allowedClasses: caller.allowedClasses,
      sha256,
      ...(limits !== undefined && { limits }),
    });
    if (planned.kind === "refused") throw toError(planned, index, requests.length);
    const unknown = planned.job.webhook?.events?.find(
      (type) => !(EVENT_TYPES as readonly string[]).includes(type),
    );
    if (unknown !== undefined) {
      throw new HoldfastError(
        "invalid_request",
        `webhook.events: there is no event type "${unknown}"; they are ${EVENT_TYPES.join(", ")}`,
        { details: { field: "webhook.events" } },
      );
    }
    return planned.job;
  });
}

/** The error of a refusal; of many jobs it names which one. */
function toError(refusal: Refusal, index: number, count: number): HoldfastError {
  const where = count === 1 ? "" : `jobs[${index}]: `;
  return new HoldfastError(refusal.code, `${where}${refusal.message}`, {
    details: { ...refusal.details, ...(count > 1 && { index }) },
  });
}

async function validateStrictly(
  deps: PreparationDeps,
  plan: PlannedJob,
  index: number,
  count: number,
): Promise<void> {
  const answer = await deps.ports.validateStrictly(plan.graph);
  if (answer.kind === "valid") return;
  const refusal: Refusal =
    answer.kind === "no_machine"
      ? {
          kind: "refused",
          code: "graph_invalid",
          message:
            "strict validation asks the machines, and none has told what it accepts yet; submit without validate=strict, or start a machine first",
          details: { issues: [] },
        }
      : {
          kind: "refused",
          code: "graph_invalid",
          message: `no known machine would accept the graph: ${answer.issues[0]?.message ?? ""}`,
          details: { issues: answer.issues.slice(0, MAX_ISSUES_TOLD) },
        };
  throw toError(refusal, index, count);
}

/** For a graph whose outputs this package's table does not know. */
async function askForOutputs(
  deps: PreparationDeps,
  plan: PlannedJob,
  warn: (text: string) => void,
): Promise<PlannedJob["promised"]> {
  const declared = await deps.ports.declaredOutputs(plan.graph);
  if (declared === undefined) {
    warn("no node of the graph is known to save anything; whether it does is up to the machine");
    return [];
  }
  if (declared.length === 0) throw toError(noOutputs(), 0, 1);
  return declared;
}

/** Finds the files of all plans in one look-up. */
async function findInputs(
  deps: PreparationDeps,
  caller: Caller,
  plans: readonly PlannedJob[],
): Promise<(file: InputFileNeed) => JobInput> {
  const needed = plans.flatMap((plan) => plan.inputFiles);
  const names = [...new Set(needed.map((file) => file.name))];
  if (names.length === 0) {
    return () => {
      throw new Error("no inputs were looked up");
    };
  }
  const resolved = await deps.ports.resolveInputs(deps.db, caller.id, names);
  if (resolved.kind === "missing") {
    const missing = needed.find((file) => resolved.names.includes(file.name));
    invariant(missing !== undefined, "a missing file was asked for");
    throw new HoldfastError(
      "input_missing",
      `input "${missing.input}" of node ${missing.nodeId} reads the file ${JSON.stringify(missing.name)}, which you have not uploaded: send it to POST /api/v1/files first, or use \`holdfast submit --input\``,
      {
        details: {
          nodeId: missing.nodeId,
          input: missing.input,
          name: missing.name,
          missing: resolved.names.slice(0, 100),
        },
      },
    );
  }
  const found = new Map(resolved.inputs.map((file) => [file.name, file]));
  return ({ nodeId, input, name }) => {
    const file = found.get(name);
    invariant(file !== undefined, "every file that is not missing was found");
    return { nodeId, input, name, sha256: file.sha256, sizeBytes: file.sizeBytes };
  };
}

/** Finds files, asks machines where that was wished, checks URLs, and makes ids; writes nothing. */
export async function prepareJobs(
  deps: PreparationDeps,
  caller: Caller,
  plans: readonly PlannedJob[],
  options: { readonly validate?: "strict" | "lenient" },
): Promise<{ readonly jobs: readonly PreparedJob[]; readonly warnings: readonly string[] }> {
  const { ids, ports } = deps;
  const warnings: string[] = [];
  const inputs = await findInputs(deps, caller, plans);
  const jobs: PreparedJob[] = [];
  for (const [index, plan] of plans.entries()) {
    const warn = (text: string): void =>
      void warnings.push(plans.length === 1 ? text : `jobs[${index}]: ${text}`);
    if (plan.webhook !== null) await ports.checkWebhookUrl(plan.webhook.url);
    if (options.validate === "strict") await validateStrictly(deps, plan, index, plans.length);
    const promised =
      plan.promised.length > 0 ? plan.promised : await askForOutputs(deps, plan, warn);
    jobs.push({
      id: ids.next("job"),
      plan: { ...plan, promised },
      inputs: plan.inputFiles.map((file) => inputs(file)),
      queuedEventId: ids.next("evt"),
      heldEventId: ids.next("evt"),
    });
  }
  return { jobs, warnings };
}
