import { MAX_KEPT_BODY, readText, type Call, type ClientTrouble, type HttpPort } from "./http.ts";

/** A file of an instance, as `collectOutputFiles` names it. */
export interface FileRef {
  readonly filename: string;
  readonly subfolder: string;
  readonly type: string;
}

/** A file that is being read, or why not. */
export type ViewOutcome =
  | {
      readonly kind: "file";
      readonly contentType: string | undefined;
      /** Absent when ComfyUI compresses or chunks. */
      readonly sizeBytes: number | undefined;
      /**
       * The bytes. Reading throws when the connection breaks, stalls or ends short; leaving the loop
       * early ends the connection. It must be read or left, or the connection stays taken.
       */
      readonly body: AsyncIterable<Uint8Array>;
    }
  /** 404: the file is not there, as after somebody cleaned up behind a cached prompt (F16). */
  | { readonly kind: "missing" }
  | ClientTrouble;

/** Opens `GET /view`, which serves any file of the output, temp and input folders (F17). */
export async function viewFile(
  port: HttpPort,
  ref: FileRef,
  rest: Pick<Call, "timeoutMs" | "maxBodyBytes" | "signal">,
): Promise<ViewOutcome> {
  const query = new URLSearchParams({
    filename: ref.filename,
    subfolder: ref.subfolder,
    type: ref.type,
  });
  // Identity: with `--enable-compress-response-body` a picture would come without its length.
  const headers = { "accept-encoding": "identity" };
  const answer = await port.open({
    method: "GET",
    path: `/view?${query.toString()}`,
    headers,
    ...rest,
  });
  if (answer.kind !== "open") return answer;
  if (answer.status === 200) {
    const length = Number(single(answer.headers["content-length"]));
    return {
      kind: "file",
      contentType: single(answer.headers["content-type"]),
      sizeBytes: Number.isSafeInteger(length) ? length : undefined,
      body: answer.body,
    };
  }
  if (answer.status === 404) {
    await answer.body.dump();
    return { kind: "missing" };
  }
  // The status says enough; an evidence that breaks off is no second failure.
  const body = await readText(answer.body, MAX_KEPT_BODY).catch(() => undefined);
  return { kind: "http", status: answer.status, body: body ?? "" };
}

function single(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" ? value : value?.[0];
}
