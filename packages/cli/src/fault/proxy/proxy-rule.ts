/** What a {@link FaultProxy} does to requests, and to which. */

/** A request as far as it has been read. */
export interface SeenRequest {
  readonly method: string;
  /** Path with query, as it was sent. */
  readonly path: string;
  /** At most the first MiB; whole for `respond`. */
  readonly body: string;
}

/** An answer that the proxy gives itself. */
export interface OwnAnswer {
  readonly status: number;
  readonly json: unknown;
}

/** What is done to a request. */
export type ProxyAction =
  /** Closes connections: before it is passed on, or instead of passing the answer on. */
  | {
      readonly kind: "cut";
      readonly when: "before" | "after";
      readonly connections: "this" | "all";
    }
  /** Answers with an error and passes nothing on. */
  | { readonly kind: "answer"; readonly status: number }
  /** Passes the answer on later. */
  | { readonly kind: "delay"; readonly ms: number }
  /** Answers in ComfyUI's place; undefined passes it on after all. */
  | {
      readonly kind: "respond";
      readonly respond: (request: SeenRequest) => OwnAnswer | undefined;
    };

/** Which requests, and how often. */
export interface ProxyRule {
  readonly action: ProxyAction;
  readonly method?: string;
  /** Start of the path, without `/api`. */
  readonly path?: string;
  /** A text in the body; only for `cut` `after`, as nothing else waits for the whole body. */
  readonly bodyHolds?: string;
  /** 0: until it is removed. */
  readonly count: number;
  /** Of so many requests that fit one is struck, the last of them; default every one. */
  readonly every?: number;
}

/** A rule in force. */
export interface ProxyRuleHandle {
  struck(): number;
  /** Of the request that was struck last, where its body named one. */
  promptId(): string | undefined;
  remove(): void;
}

const PROMPT_ID = /"prompt_id"\s*:\s*"([0-9a-zA-Z-]{1,64})"/;

/** Rules in the order in which they were made; the first that fits strikes. */
export class ProxyRules {
  readonly #rules: {
    readonly rule: ProxyRule;
    seen: number;
    struck: number;
    promptId: string | undefined;
  }[] = [];

  add(rule: ProxyRule): ProxyRuleHandle {
    const entry = { rule, seen: 0, struck: 0, promptId: undefined as string | undefined };
    this.#rules.push(entry);
    return {
      struck: () => entry.struck,
      promptId: () => entry.promptId,
      remove: () => {
        const at = this.#rules.indexOf(entry);
        if (at >= 0) this.#rules.splice(at, 1);
      },
    };
  }

  /** The action for a request at this moment; it counts as struck. */
  strike(request: SeenRequest, at: "head" | "body" | "answer"): ProxyAction | undefined {
    const entry = this.#rules.find((one) => {
      const { rule, struck } = one;
      const isLeft = rule.count === 0 || struck < rule.count;
      if (!isLeft || momentOf(rule.action) !== at || !fits(rule, request)) return false;
      one.seen += 1;
      return one.seen % (rule.every ?? 1) === 0;
    });
    if (entry === undefined) return undefined;
    entry.struck += 1;
    entry.promptId = PROMPT_ID.exec(request.body)?.[1] ?? entry.promptId;
    return entry.rule.action;
  }

  /** Whether the whole body of a request is asked for before it is passed on. */
  wantsBody(request: SeenRequest): boolean {
    return this.#rules.some(
      ({ rule }) => momentOf(rule.action) === "body" && fits(rule, { ...request, body: "" }),
    );
  }
}

function momentOf(action: ProxyAction): "head" | "body" | "answer" {
  switch (action.kind) {
    case "cut":
      return action.when === "before" ? "head" : "answer";
    case "answer":
      return "head";
    case "delay":
      return "answer";
    case "respond":
      return "body";
  }
}

function fits(rule: ProxyRule, request: SeenRequest): boolean {
  const path = request.path.replace(/^\/api(?=\/)/, "");
  if (rule.method !== undefined && rule.method !== request.method) return false;
  if (rule.path !== undefined && !path.startsWith(rule.path)) return false;
  return rule.bodyHolds === undefined || request.body.includes(rule.bodyHolds);
}
