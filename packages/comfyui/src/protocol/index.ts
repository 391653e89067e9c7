export { parseBinaryFrame, type BinaryFrame } from "./binary-frame.ts";
export { canonicalJson, hashGraph } from "./canonical.ts";
export { quoteBigIntegers } from "./exact-json.ts";
export { EXECUTION_BLOCKED, parseExecutionError, type ExecutionError } from "./execution-error.ts";
export { findInput } from "./find-input.ts";
export { inputOf, isLink, nodeOf, type Graph, type GraphLink, type GraphNode } from "./graph.ts";
export {
  parseHistoryEntry,
  parseHistoryList,
  parseQueue,
  type HistoryEntry,
  type HistoryMessage,
  type HistoryStatus,
  type Queue,
  type QueueItem,
} from "./history.ts";
export { stripHostPaths, stripHostPathsIn } from "./host-paths.ts";
export {
  parseSocketMessage,
  type NodeProgress,
  type SocketMessage,
  type UnparsableMessage,
} from "./messages.ts";
export { parseModelMetadata, parseModelSizes, type ModelMetadata } from "./model-metadata.ts";
export {
  graphNeeds,
  isFileInput,
  modelFolderOf,
  type GraphNeeds,
  type InputFileNeed,
  type ModelNeed,
} from "./needs.ts";
export {
  choicesOf,
  classInfo,
  inputSpec,
  parseObjectInfo,
  type InputSpec,
  type InputType,
  type NodeInfo,
  type NodeInputs,
  type ObjectInfo,
} from "./object-info.ts";
export {
  collectOutputFiles,
  prefixOutputs,
  promisedOutputs,
  type OutputFileRef,
  type PromisedOutput,
} from "./outputs.ts";
export {
  DEFAULT_GRAPH_LIMITS,
  parseGraph,
  type GraphLimits,
  type GraphParse,
  type GraphRefusal,
  type GraphRefusalCode,
} from "./parse.ts";
export {
  observeProcess,
  UNOBSERVED_PROCESS,
  type ProcessChange,
  type ProcessIdentity,
  type ProcessSign,
} from "./process-identity.ts";
export {
  parseNodeErrors,
  parsePromptRejection,
  VALIDATION_TYPES,
  type NodeComplaint,
  type NodeErrors,
  type PromptRejection,
} from "./rejection.ts";
export {
  freshNodeId,
  insertNodeAfter,
  relinkNode,
  renameNodes,
  rewireOutput,
  setInput,
} from "./rewire.ts";
export {
  parseSystemStats,
  versionsOf,
  type DeviceStats,
  type SystemStats,
} from "./system-stats.ts";
export {
  fillTemplate,
  findTemplateVariables,
  type FilledTemplate,
  type TemplateValue,
  type TemplateVariable,
} from "./template.ts";
export { isRefusedForSure, validateGraph } from "./validate.ts";
export type { ValidationIssue } from "./validation-issue.ts";
export {
  applyPatch,
  diffGraph,
  extractVariables,
  type GraphPatch,
  type InputValue,
} from "./variables.ts";
export {
  ancestorsOf,
  chainLength,
  dependentsOf,
  findCycle,
  links,
  pruneTo,
  shapeOf,
  topologicalOrder,
  type GraphEdge,
} from "./walk.ts";
export type {
  WireError,
  WireExecutionError,
  WireHistoryEntry,
  WireNodeErrors,
  WirePromptAccepted,
  WirePromptRejected,
  WireQueue,
  WireQueueItem,
  WireSocketMessage,
} from "./wire.ts";
