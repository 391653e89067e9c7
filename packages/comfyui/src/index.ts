export type { ComfyCalls, Reply } from "./calls.ts";
export type { CancelOutcome } from "./cancel.ts";
export {
  createComfyClient,
  DEFAULT_TIMEOUTS,
  type ComfyClient,
  type ComfyClientOptions,
  type ComfyTimeouts,
} from "./client.ts";
export type { OpenSocket, RawSocket } from "./connection.ts";
export type { ClientTrouble } from "./http.ts";
export type { PromptLookup } from "./lookup.ts";
export type { FileContent } from "./multipart.ts";
export {
  createComfySocket,
  type ComfySocket,
  type ComfySocketOptions,
  type SocketEvent,
  type SocketState,
} from "./socket.ts";
export {
  DEFAULT_RESUBMIT_POLICY,
  type PromptRequest,
  type ResubmitPolicy,
  type SubmitOutcome,
  type UnexplainedRejection,
} from "./submit.ts";
export type { InputUpload, UploadOutcome } from "./upload.ts";
export type { FileRef, ViewOutcome } from "./view.ts";
