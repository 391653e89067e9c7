import { MAX_KEPT_BODY, type Call, type ClientTrouble, type HttpPort } from "./http.ts";
import { multipartForm, type FileContent } from "./multipart.ts";

/** A file for an instance's input folder. */
export interface InputUpload {
  readonly content: FileContent;
  /** A plain file name: no separators, quotes or control characters, not `.` or `..`. */
  readonly name: string;
  /** Made when missing; relative, with forward slashes. Empty: the input folder itself. */
  readonly subfolder: string;
  /** Replaces a file of the same name; otherwise ComfyUI stores other content as `name (1)`. */
  readonly overwrite: boolean;
}

/** What became of an upload. */
export type UploadOutcome =
  /** Where ComfyUI stored it: the name for the graph is `reference`. */
  | {
      readonly kind: "uploaded";
      readonly name: string;
      readonly subfolder: string;
      readonly reference: string;
    }
  /** The name or subfolder cannot be used; nothing was sent. */
  | { readonly kind: "bad_name"; readonly message: string }
  | ClientTrouble;

/** Sends `POST /upload/image`, which stores any file (F18). A stream is used up, even on failure. */
export async function uploadInput(
  port: HttpPort,
  upload: InputUpload,
  rest: Pick<Call, "timeoutMs" | "maxBodyBytes" | "signal">,
): Promise<UploadOutcome> {
  if (!isPlainName(upload.name)) {
    return { kind: "bad_name", message: `"${upload.name}" is no plain file name` };
  }
  if (upload.subfolder !== "" && !upload.subfolder.split("/").every(isPlainName)) {
    return { kind: "bad_name", message: `"${upload.subfolder}" is no relative folder` };
  }
  const form = multipartForm(
    {
      type: "input",
      subfolder: upload.subfolder,
      ...(upload.overwrite && { overwrite: "true" }),
    },
    { field: "image", filename: upload.name, content: upload.content },
  );
  const answer = await port.call({
    method: "POST",
    path: "/upload/image",
    body: form.body,
    headers: form.headers,
    ...rest,
  });
  if (answer.kind !== "answer") return answer;
  if (answer.status !== 200) {
    return { kind: "http", status: answer.status, body: answer.body.slice(0, MAX_KEPT_BODY) };
  }
  return toUploaded(answer.body, upload);
}

function toUploaded(body: string, upload: InputUpload): UploadOutcome {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    // Told below, like JSON of another shape.
  }
  const name = textMember(value, "name");
  const subfolder = textMember(value, "subfolder");
  if (name === undefined || subfolder === undefined) {
    return { kind: "malformed", message: "the upload was answered without name and subfolder" };
  }
  if (upload.overwrite && name !== upload.name) {
    return { kind: "malformed", message: `${upload.name} was stored as ${name}` };
  }
  const reference = subfolder === "" ? name : `${subfolder}/${name}`;
  return { kind: "uploaded", name, subfolder, reference };
}

function textMember(value: unknown, key: string): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const found: unknown = Object.getOwnPropertyDescriptor(value, key)?.value;
  return typeof found === "string" ? found : undefined;
}

function isPlainName(name: string): boolean {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return name !== "" && name !== "." && name !== ".." && !/[/\\"<>|\u0000-\u001f\u007f]/.test(name);
}
