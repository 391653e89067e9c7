/** What a stand-in of a cluster keeps, and what it answers. See `kubernetes-stand-in.ts`. */
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Clock } from "@holdfast/runtime";

/** A pod or Secret as it is kept. */
export interface KeptObject {
  readonly kind: "Pod" | "Secret";
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly creationTimestamp: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly { readonly uid: string }[];
    deletionTimestamp?: string;
    deletionGracePeriodSeconds?: number;
  };
  spec?: Record<string, unknown> & { nodeName?: string };
  status?: Record<string, unknown> & { phase?: string };
  readonly stringData?: Readonly<Record<string, string>>;
  readonly type?: string;
}

/** A request as it came. */
export interface HeardRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: unknown;
}

/** A cluster as it is kept. */
export interface KeptCluster {
  readonly clock: Clock;
  /** By resource, namespace and name. */
  readonly objects: Map<string, KeptObject>;
  /** Namespaces that are there. */
  readonly namespaces: Set<string>;
  /** What this key may not do: `create pods`. */
  readonly denied: Set<string>;
  /** Words of a policy that looks at every new pod; null: all are taken. */
  admission: ((pod: KeptObject) => string | null) | null;
  /** Most objects of a page, whatever was asked for. */
  pageMax: number;
}

/** An answer before it is sent. */
export interface Reply {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const MS_PER_SEC = 1_000;
const PODS = /^\/api\/v1\/namespaces\/([^/]+)\/(pods|secrets)(?:\/([^/]+))?$/;
const ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

interface WantedMetadata {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** An empty one. */
export function keptCluster(clock: Clock): KeptCluster {
  return {
    clock,
    objects: new Map(),
    namespaces: new Set(["default"]),
    denied: new Set(),
    admission: null,
    pageMax: Number.MAX_SAFE_INTEGER,
  };
}

/** Where an object is kept. */
export function keyOf(resource: string, namespace: string, name: string): string {
  return `${resource}/${namespace}/${name}`;
}

/** What the API answers, having done it. */
export function answer(cluster: KeptCluster, request: HeardRequest): Reply {
  const { method, path, body, query } = request;
  if (path === ACCESS && method === "POST") return accessReview(cluster, body);
  const match = PODS.exec(path);
  if (match === null) {
    return status(404, "NotFound", "the server could not find the requested resource");
  }
  const [, namespace = "", resource = "", name] = match.map((part) =>
    part === undefined ? part : decodeURIComponent(part),
  );
  const verb = verbOf(method, name !== undefined);
  if (cluster.denied.has(`${verb} ${resource}`)) {
    return status(
      403,
      "Forbidden",
      `${resource}${name === undefined ? "" : ` "${name}"`} is forbidden: User "holdfast" cannot ${verb} resource "${resource}" in API group "" in the namespace "${namespace}"`,
    );
  }
  if (verb === "create") return create(cluster, resource, namespace, body, query);
  if (verb === "list") return list(cluster, resource, namespace, query);
  const kept = cluster.objects.get(keyOf(resource, namespace, name ?? ""));
  if (kept === undefined) return status(404, "NotFound", `${resource} "${name}" not found`);
  return verb === "get" ? json(200, shown(kept)) : remove(cluster, kept, body);
}

function verbOf(method: string, isNamed: boolean): "create" | "delete" | "get" | "list" {
  if (method === "POST") return "create";
  if (method === "DELETE") return "delete";
  return isNamed ? "get" : "list";
}

function accessReview(cluster: KeptCluster, body: unknown): Reply {
  const review = body as {
    readonly spec: {
      readonly resourceAttributes: { readonly verb: string; readonly resource: string };
    };
  };
  const { verb, resource } = review.spec.resourceAttributes;
  const isAllowed = !cluster.denied.has(`${verb} ${resource}`);
  return json(201, { ...review, status: { allowed: isAllowed } });
}

function create(
  cluster: KeptCluster,
  resource: string,
  namespace: string,
  body: unknown,
  query: URLSearchParams,
): Reply {
  if (!cluster.namespaces.has(namespace)) {
    return status(404, "NotFound", `namespaces "${namespace}" not found`);
  }
  const wanted = body as Omit<KeptObject, "metadata"> & { readonly metadata: WantedMetadata };
  const { name, labels = {} } = wanted.metadata;
  const kind = resource === "pods" ? "Pod" : "Secret";
  const wrong = whatIsWrong(kind, wanted);
  if (wrong !== undefined) {
    return status(422, "Invalid", `${kind} "${name}" is invalid: ${wrong}`);
  }
  const key = keyOf(resource, namespace, name);
  if (cluster.objects.has(key)) {
    return status(409, "AlreadyExists", `${resource} "${name}" already exists`);
  }
  const made: KeptObject = {
    ...wanted,
    kind,
    metadata: {
      ...wanted.metadata,
      labels,
      namespace,
      uid: randomUUID(),
      creationTimestamp: instantOf(cluster.clock.now()),
    },
    ...(kind === "Pod" ? { status: { phase: "Pending" } } : {}),
  };
  const refusal = kind === "Pod" ? (cluster.admission?.(made) ?? null) : null;
  if (refusal !== null) {
    return status(403, "Forbidden", `pods "${name}" is forbidden: ${refusal}`);
  }
  if (query.get("dryRun") !== "All") cluster.objects.set(key, made);
  return json(201, shown(made));
}

function list(
  cluster: KeptCluster,
  resource: string,
  namespace: string,
  query: URLSearchParams,
): Reply {
  const selector = (query.get("labelSelector") ?? "").split(",").map((one) => one.split("="));
  const from = Number(query.get("continue")?.replace(/^from-/, "") ?? 0);
  const limit = Math.min(cluster.pageMax, Number(query.get("limit") ?? Number.MAX_SAFE_INTEGER));
  const all = [...cluster.objects].filter(
    ([key, { metadata }]) =>
      key.startsWith(`${resource}/${namespace}/`) &&
      selector.every(([name = "", value]) => metadata.labels[name] === value),
  );
  const items = all.slice(from, from + limit).map(([, kept]) => shown(kept));
  const next = from + limit < all.length ? { continue: `from-${from + limit}` } : {};
  return json(200, { kind: "PodList", apiVersion: "v1", metadata: next, items });
}

function remove(cluster: KeptCluster, kept: KeptObject, body: unknown): Reply {
  const { gracePeriodSeconds = 30, preconditions } = (body ?? {}) as {
    readonly gracePeriodSeconds?: number;
    readonly preconditions?: { readonly uid?: string };
  };
  const { name, uid } = kept.metadata;
  if (preconditions?.uid !== undefined && preconditions.uid !== uid) {
    const why = `the UID in the precondition (${preconditions.uid}) does not match the UID in record (${uid}). The object might have been deleted and then recreated`;
    return status(409, "Conflict", `Operation cannot be fulfilled on Pod "${name}": ${why}`);
  }
  // One without a node, or that has ended, needs nobody to end it.
  const isIdle = kept.spec?.nodeName === undefined || isEnded(kept);
  if (isIdle || gracePeriodSeconds === 0) {
    forget(cluster, kept);
  } else if (kept.metadata.deletionTimestamp === undefined) {
    const until = cluster.clock.now() + gracePeriodSeconds * MS_PER_SEC;
    kept.metadata.deletionTimestamp = instantOf(until);
    kept.metadata.deletionGracePeriodSeconds = gracePeriodSeconds;
  }
  return json(200, shown(kept));
}

/** With what it owns, as the collector of garbage does a little later. */
function forget(cluster: KeptCluster, { metadata }: KeptObject): void {
  for (const [key, kept] of cluster.objects) {
    const isOwned = kept.metadata.ownerReferences?.some(({ uid }) => uid === metadata.uid);
    if (kept.metadata.uid === metadata.uid || isOwned === true) cluster.objects.delete(key);
  }
}

/** What kubelets do: pods that are not ended run, those that are to go are gone after their grace. */
export function playKubelets(cluster: KeptCluster): void {
  const now = cluster.clock.now();
  for (const kept of cluster.objects.values()) {
    if (kept.kind !== "Pod") continue;
    const { deletionTimestamp } = kept.metadata;
    if (deletionTimestamp !== undefined) {
      if (Date.parse(deletionTimestamp) <= now) forget(cluster, kept);
    } else if (kept.status?.phase === "Pending") {
      kept.spec = { ...kept.spec, nodeName: "node-1" };
      kept.status = runningStatus(instantOf(now));
    }
  }
}

function instantOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, "Z");
}

function runningStatus(startedAt: string): NonNullable<KeptObject["status"]> {
  return {
    phase: "Running",
    podIP: "10.1.2.3",
    conditions: [
      { type: "PodScheduled", status: "True", lastTransitionTime: startedAt },
      { type: "Ready", status: "True", lastTransitionTime: startedAt },
    ],
    containerStatuses: [{ name: "agent", ready: true, state: { running: { startedAt } } }],
  };
}

function whatIsWrong(
  kind: "Pod" | "Secret",
  { metadata, spec }: Pick<KeptObject, "spec"> & { readonly metadata: WantedMetadata },
): string | undefined {
  if (!NAME.test(metadata.name) || metadata.name.length > 253) {
    return `metadata.name: Invalid value: "${metadata.name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'`;
  }
  if (kind === "Secret") return undefined;
  const [container] = (spec?.["containers"] ?? []) as readonly { readonly image?: string }[];
  if (container === undefined) return "spec.containers: Required value";
  return (container.image ?? "") === "" ? "spec.containers[0].image: Required value" : undefined;
}

function isEnded({ status }: KeptObject): boolean {
  return status?.phase === "Succeeded" || status?.phase === "Failed";
}

function shown(kept: KeptObject): object {
  return { apiVersion: "v1", ...kept };
}

/** A refusal. */
export function status(code: number, reason: string, message: string): Reply {
  return json(code, {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    reason,
    code,
  });
}

function json(code: number, body: object): Reply {
  return { status: code, body: JSON.stringify(body) };
}
