/** What a ComfyUI's socket tells, as a run's trace takes it. */
import type { SocketEvent } from "@holdfast/comfyui";
import type { TraceEvent } from "@holdfast/load";

/** Null for what says nothing of a run. One prompt runs at a time: the socket is told of ours alone (F7). */
export function traceEventOf(event: SocketEvent): TraceEvent | null {
  if (event.kind === "state") return event.state === "closed" ? { kind: "socket_away" } : null;
  if (event.kind === "binary") return { kind: "sign" };
  const { message } = event;
  switch (message.kind) {
    case "execution_start":
      return { kind: "execution_start" };
    case "execution_cached":
      return { kind: "execution_cached", nodes: message.nodes };
    case "executing":
      return { kind: "executing", nodeId: message.nodeId };
    case "progress":
      return { kind: "progress", nodeId: message.nodeId, value: message.value };
    case "execution_success":
    case "execution_interrupted":
      return { kind: "ended" };
    case "execution_error":
      return message.isBlocked ? { kind: "sign" } : { kind: "ended" };
    case "progress_state":
    case "executed":
    case "progress_text":
      return { kind: "sign" };
    default:
      return null;
  }
}
