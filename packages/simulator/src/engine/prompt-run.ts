import { invariant } from "@holdfast/runtime";
import { NODE_CLASSES } from "../nodes/catalogue.ts";
import { V3_INFO, type NodeResult } from "../nodes/node-class.ts";
import {
  InterruptedError,
  ProcessGoneError,
  RaisedError,
  SystemExitError,
  WorkerEndedError,
} from "../nodes/raised.ts";
import { isNodeValue, type NodeValue } from "../nodes/values.ts";
import { ExecutionOrder } from "./execution-order.ts";
import { failureMessage, failureTraceback, isOutOfMemory, printInput } from "./failures.ts";
import type { HistoryEntry, HistoryMessage } from "./history.ts";
import { createNodeCall, throwIfInterrupted, type NodeTurn } from "./node-call.ts";
import { isLink } from "./node-cache.ts";
import type { ProcessState } from "./process-state.ts";
import { ProgressBoard } from "./progress.ts";
import type { QueueItem } from "./prompt-queue.ts";
import { isRecord, unfitExtraData, unfitGraph } from "./unfit-prompt.ts";

type NodeOutcome = "done" | "failed";

/** One prompt's run, from `execution_start` to its history entry (execution.py, 0.3.64). */
export class PromptRun {
  readonly #state: ProcessState;
  readonly #item: QueueItem;
  readonly #promptId: string;
  readonly #clientId: string | null;
  readonly #progress: ProgressBoard;
  readonly #messages: HistoryMessage[] = [];
  readonly #executed: string[] = [];

  constructor(state: ProcessState, item: QueueItem) {
    this.#state = state;
    this.#item = item;
    this.#promptId = item[1];
    const clientId = isRecord(item[3]) ? item[3]["client_id"] : undefined;
    this.#clientId = typeof clientId === "string" ? clientId : null;
    this.#progress = new ProgressBoard(this.#promptId, this.#clientId, state.parts.events);
  }

  /** Runs it. Throws only when the process or its worker ends under it. */
  async execute(): Promise<HistoryEntry> {
    const { cache } = this.#state;
    const [, , graph, extra] = this.#item;
    this.#state.clearInterrupt();
    endWorker(unfitExtraData(extra));
    this.#state.clientId = this.#clientId;
    this.#say("execution_start", {});
    endWorker(unfitGraph(graph));
    cache.usePrompt(graph, this.#state.surroundings);
    const cached = Object.keys(graph).filter((id) => cache.outputs(id) !== undefined);
    this.#say("execution_cached", { nodes: cached });

    const order = new ExecutionOrder(graph, (id) => cache.outputs(id) !== undefined);
    for (const id of this.#item[4]) order.add(id);
    let isBroken = false;
    while (!order.isEmpty && !isBroken) {
      const id = order.next();
      if (id === null) {
        this.#sayCycle(order.firstPending);
        isBroken = true;
        break;
      }
      const outcome = await this.#executeNode(id);
      this.#state.hasSucceeded = outcome === "done";
      if (outcome === "done") order.complete(id);
      else isBroken = true;
    }
    if (!isBroken) this.#say("execution_success", {});
    this.#state.currentNode = null;
    return this.#toHistory();
  }

  async #executeNode(id: string): Promise<NodeOutcome> {
    const { cache } = this.#state;
    const node = this.#item[2][id];
    invariant(node !== undefined, "a node that runs is in the graph");
    if (cache.outputs(id) !== undefined) {
      this.#send("executed", {
        node: id,
        display_node: id,
        output: cache.shown(id)?.output ?? null,
        prompt_id: this.#promptId,
      });
      this.#progress.finish(id);
      return "done";
    }
    const inputs = this.#resolve(node.inputs);
    try {
      this.#progress.start(id);
      if (this.#clientId !== null) this.#state.currentNode = id;
      this.#send("executing", { node: id, display_node: id, prompt_id: this.#promptId });
      throwIfInterrupted(this.#state);
      const result = await this.#runNode(id, node.class_type, inputs);
      if (result.ui !== undefined) {
        const meta = { node_id: id, display_node: id, parent_node: null, real_node_id: id };
        cache.setShown(id, { meta, output: result.ui });
        this.#send("executed", {
          node: id,
          display_node: id,
          output: result.ui,
          prompt_id: this.#promptId,
        });
      }
      cache.setOutputs(id, result.outputs);
    } catch (error) {
      if (error instanceof InterruptedError) {
        const about = { node_id: id, node_type: node.class_type, executed: [...this.#executed] };
        this.#say("execution_interrupted", about, true);
        return "failed";
      }
      if (error instanceof SystemExitError || error instanceof ProcessGoneError) throw error;
      this.#fail(id, node.class_type, inputs, error);
      return "failed";
    }
    this.#progress.finish(id);
    this.#executed.push(id);
    this.#state.parts.onNodeDone({
      promptId: this.#promptId,
      nodeId: id,
      classType: node.class_type,
    });
    return "done";
  }

  #fail(
    id: string,
    classType: string,
    inputs: Readonly<Record<string, unknown>>,
    error: unknown,
  ): void {
    const { log, vram } = this.#state.parts;
    // Anything else is a limit or a bug of the simulator: it must be seen, not end the worker.
    const raised =
      error instanceof RaisedError
        ? error
        : new RaisedError("simulator.SimulatorError", `the simulator failed: ${String(error)}`);
    log(`!!! Exception during processing !!! ${raised.message}`);
    if (isOutOfMemory(raised.exceptionType)) {
      log("Got an OOM, unloading all loaded models.");
      vram.unloadAll();
    }
    this.#say("execution_error", this.#describe(id, classType, inputs, raised));
  }

  async #runNode(
    id: string,
    classType: string,
    inputs: Readonly<Record<string, unknown>>,
  ): Promise<NodeResult> {
    const nodeClass = NODE_CLASSES.get(classType);
    invariant(nodeClass !== undefined, "a validated graph names known classes");
    const blocked = Object.values(inputs).find(
      (value) => isNodeValue(value) && value.kind === "blocked",
    ) as Extract<NodeValue, { kind: "blocked" }> | undefined;
    if (blocked !== undefined) {
      if (blocked.message !== null) this.#sayBlocked(id, classType, blocked.message);
      return { outputs: nodeClass.outputs.map(() => ({ kind: "blocked", message: null })) };
    }
    if (this.#state.isZombie) throw new SystemExitError("1");
    const [, , , extra] = this.#item;
    const pngInfo = isRecord(extra) ? extra["extra_pnginfo"] : undefined;
    const turn: NodeTurn = {
      nodeId: id,
      classType,
      promptId: this.#promptId,
      clientId: this.#clientId,
      graph: this.#item[2],
      pngInfo: typeof pngInfo === "object" && pngInfo !== null ? { ...pngInfo } : {},
      inputs,
      progress: this.#progress,
    };
    const call = createNodeCall(this.#state, turn);
    await this.#state.parts.faults.beforeNode(turn, call);
    return nodeClass.run(call);
  }

  #resolve(inputs: Readonly<Record<string, unknown>>): Record<string, unknown> {
    const resolved: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(inputs)) {
      resolved[name] = isLink(value) ? this.#state.cache.outputs(value[0])?.[value[1]] : value;
    }
    return resolved;
  }

  #describe(
    id: string,
    classType: string,
    inputs: Readonly<Record<string, unknown>>,
    error: RaisedError,
  ): Record<string, unknown> {
    const shown = { ...inputs, ...this.#hiddenInputs(id, classType) };
    const currentInputs = Object.fromEntries(
      Object.entries(shown).map(([name, value]) => [name, [printInput(value)]]),
    );
    return {
      node_id: id,
      node_type: classType,
      executed: [...this.#executed],
      exception_message: failureMessage(error.exceptionType, error.message),
      exception_type: error.exceptionType,
      traceback: failureTraceback(error.frames),
      current_inputs: currentInputs,
      current_outputs: Object.keys(this.#item[2]),
    };
  }

  /** What ComfyUI fills in by itself; errors print it too. */
  #hiddenInputs(id: string, classType: string): Record<string, unknown> {
    const [, , graph, extra] = this.#item;
    const values: Readonly<Record<string, unknown>> = {
      PROMPT: graph,
      EXTRA_PNGINFO: isRecord(extra) ? (extra["extra_pnginfo"] ?? null) : null,
      UNIQUE_ID: id,
    };
    const nodeClass = NODE_CLASSES.get(classType);
    // Classes of the newer API get them by another way, which errors do not show.
    const hidden = nodeClass?.extraInfo === V3_INFO ? {} : (nodeClass?.hidden ?? {});
    return Object.fromEntries(Object.entries(hidden).map(([name, kind]) => [name, values[kind]]));
  }

  /** Only links in undeclared inputs make one: validation does not follow those. */
  #sayCycle(id: string): void {
    this.#say("execution_error", {
      node_id: id,
      node_type: this.#item[2][id]?.class_type,
      executed: [...this.#executed],
      exception_message: "Dependency cycle detected",
      exception_type: "graph.DependencyCycleError",
      traceback: [],
      current_inputs: [],
      current_outputs: Object.keys(this.#item[2]),
    });
  }

  #sayBlocked(id: string, classType: string, message: string): void {
    this.#state.parts.events.send(
      "execution_error",
      {
        prompt_id: this.#promptId,
        node_id: id,
        node_type: classType,
        executed: [...this.#executed],
        exception_message: `Execution Blocked: ${message}`,
        exception_type: "ExecutionBlocked",
        traceback: [],
        current_inputs: [],
        current_outputs: [],
      },
      this.#clientId,
    );
  }

  /** Sends to the submitter alone: without a client id, to nobody. */
  #send(type: string, data: Record<string, unknown>): void {
    if (this.#clientId !== null) this.#state.parts.events.send(type, data, this.#clientId);
  }

  /** Sends, and keeps for the history. */
  #say(type: string, facts: Record<string, unknown>, isForAll = false): void {
    // The order of keys is the one that clients see on the wire.
    const data =
      type === "execution_cached"
        ? { ...facts, prompt_id: this.#promptId, timestamp: this.#state.parts.clock.now() }
        : { prompt_id: this.#promptId, ...facts, timestamp: this.#state.parts.clock.now() };
    this.#messages.push([type, data]);
    if (this.#clientId !== null || isForAll) {
      this.#state.parts.events.send(type, data, this.#clientId);
    }
  }

  #toHistory(): HistoryEntry {
    const outputs: Record<string, unknown> = {};
    const meta: Record<string, unknown> = {};
    for (const id of Object.keys(this.#item[2])) {
      const shown = this.#state.cache.shown(id);
      if (shown === undefined) continue;
      outputs[id] = shown.output;
      meta[id] = shown.meta;
    }
    return {
      prompt: this.#item,
      outputs,
      status: {
        status_str: this.#state.hasSucceeded ? "success" : "error",
        completed: this.#state.hasSucceeded,
        messages: this.#messages,
      },
      meta,
    };
  }
}

function endWorker(reason: string | null): void {
  if (reason !== null) throw new WorkerEndedError(reason);
}
